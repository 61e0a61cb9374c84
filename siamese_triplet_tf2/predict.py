"""Compare an image with another one, or find the most similar images of a folder.

    python3 siamese_triplet_tf2/predict.py --query=IMAGE --against=IMAGE|FOLDER [--checkpoint=FILE|RUN_DIR]

Writes predictions.json, embeddings.npz and nearest.png to <run directory>/predict/.
"""
from __future__ import annotations

import os
import sys
from typing import Any

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import numpy as np

from common.checkpoints import trained
from common.cli import program, shared_flags
from common.cli.parser import REQUIRED, FlagSet
from common.devices import selection

ROOT = os.path.dirname(os.path.abspath(__file__))


def define_flags() -> FlagSet:
    """Return the flags of prediction."""
    flags = FlagSet(__doc__ or "")
    flags.data.string("query", None, "Image to compare with.", REQUIRED)
    flags.data.string("against", None, "Another image, or a folder of images, searched recursively.", REQUIRED)
    flags.alias("against", "images")
    flags.evaluation.integer("top", 5, "Number of nearest images to list.", 1)
    flags.alias("top", "k")
    shared_flags.define_background(flags.data)
    trained.define_flags(flags)
    return flags


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Predict; return the exit status."""
    from common.data import images
    from siamese_triplet_tf2 import pairs, siamese_network

    flags = define_flags().parse(arguments)
    checkpoint = trained.choose(flags, ROOT, "predict")
    query = shared_flags.find_file("query", flags.query, ROOT)
    paths = images.find_images(shared_flags.find_path("against", flags.against, ROOT), pairs.SUFFIXES)
    device = selection.choose(flags.device, os.environ)

    from common.keras import session
    from common.plots import image_grid
    from siamese_triplet_tf2 import evaluation, restore

    session.start(device, flags.device, siamese_network.NPU_PRECISION, flags.json)
    embeddings = restore.TrainedEmbedding(checkpoint, True, flags.background).embed([query, *paths])
    cosine, l2 = (evaluation.similarities(embeddings[:1], embeddings[1:], metric)[0] for metric in ("cosine", "l2"))
    nearest = np.argsort(-cosine, kind="stable")[:flags.top]
    result: dict[str, Any] = dict(checkpoint=checkpoint.prefix, query=query, nearest=[
        dict(image=paths[index], cosine=float(cosine[index]), squared_distance=float(-l2[index])) for index in nearest])
    row = [image_grid.Cell(restore.image_of(query, flags.background), "query")]
    row += [image_grid.Cell(restore.image_of(paths[index], flags.background), f"{number}. {cosine[index]:.3f}")
            for number, index in enumerate(nearest, 1)]
    image_grid.draw(checkpoint.file("nearest.png"), "nearest by cosine", [row])
    lines = [f"{image['image']}: cosine {image['cosine']:.4f}, squared distance {image['squared_distance']:.4f}"
             for image in result["nearest"]]
    checkpoint.report("predictions.json", result, lines, flags.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
