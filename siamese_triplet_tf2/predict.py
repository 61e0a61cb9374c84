"""Similarity of images with the triplet network: of two images, or the images of a folder that are nearest to one.

    python3 siamese_triplet_tf2/predict.py --query=IMAGE --images=IMAGE|FOLDER [--checkpoint=FILE|RUN_DIR]

Writes predictions.json, the embeddings, and nearest.png to <run directory>/predict/.
"""
from __future__ import annotations

import os
import sys
from typing import Any

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import numpy as np

from common import atomic_files
from common.checkpoints import trained
from common.cli import program, shared_flags
from common.cli.parser import REQUIRED, FlagSet
from common.devices import selection
from common.errors import FlagError

ROOT = os.path.dirname(os.path.abspath(__file__))


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Predict; return the exit status."""
    from common.data import images
    from siamese_triplet_tf2 import pairs, siamese_network

    flag_set = FlagSet(__doc__ or "")
    flag_set.data.string("query", None, "Image to compare with.", REQUIRED)
    flag_set.data.string("images", None, "Another image, or a folder of images.", REQUIRED)
    flag_set.evaluation.integer("k", 5, "Number of nearest images to list.", 1)
    trained.define_flags(flag_set)
    shared_flags.define_device(flag_set)
    flags = flag_set.parse(arguments)
    if not flags.query or not flags.images:
        raise FlagError("--query=IMAGE and --images=IMAGE|FOLDER are needed")
    weights_at = trained.find(flags, ROOT, "predict", dict(os.environ))
    query = shared_flags.find_path("query", flags.query, ROOT)
    paths = images.list_images(shared_flags.find_path("images", flags.images, ROOT), pairs.SUFFIXES)
    device = selection.choose(flags.device, os.environ)

    from common.keras import session
    from common.plots import image_grid
    from siamese_triplet_tf2 import restore, retrieval

    session.start(device, flags.device, siamese_network.NPU_PRECISION, flags.json)
    network = restore.TrainedEmbedding(weights_at)
    embeddings = network.embed([query, *paths])
    cosine, l2 = (retrieval.similarities(embeddings[:1], embeddings[1:], metric)[0] for metric in ("cosine", "l2"))
    nearest = np.argsort(-cosine, kind="stable")[:flags.k]
    result: dict[str, Any] = dict(checkpoint=weights_at.prefix, query=query, nearest=[
        dict(image=paths[place], cosine=float(cosine[place]), squared_distance=float(-l2[place])) for place in nearest])
    path = weights_at.write_json("predictions.json", result)
    row = [image_grid.Cell(restore.image_of(query), "query")]
    row += [image_grid.Cell(restore.image_of(paths[place]), f"{number}. {cosine[place]:.3f}")
            for number, place in enumerate(nearest, 1)]
    image_grid.draw(os.path.join(weights_at.folder, "nearest.png"), "nearest by cosine", [row])
    if flags.json:
        print(atomic_files.to_json(result))
        return 0
    for found in result["nearest"]:
        print(f"{found['image']}: cosine {found['cosine']:.4f}, squared distance {found['squared_distance']:.4f}")
    print(f"Written: {path} and nearest.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
