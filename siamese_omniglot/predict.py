"""Compare a drawing with another one, or with those of a folder.

    python3 siamese_omniglot/predict.py --query=FILE --against=FILE|FOLDER [--checkpoint=FILE|RUN_DIR]

Drawings are black on white, as in Omniglot; --invert is for white on black. The short side of a drawing is resized to
105 pixels and the center is cropped. Prints the similarity of each pair, the probability that both show the same
character, and writes predictions.json and similarity.png to <run directory>/predict/.
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
from siamese_omniglot.evaluate import define_network

ROOT = os.path.dirname(os.path.abspath(__file__))
_BICUBIC = 3  # PIL's constant


def define_flags() -> FlagSet:
    """Return the flags of prediction."""
    flags = FlagSet(__doc__ or "")
    flags.data.string("query", None, "Image of a drawing.", REQUIRED)
    flags.alias("query", "image")
    flags.data.string("against", None, "Another drawing, or a folder of drawings, searched recursively.", REQUIRED)
    flags.alias("against", "other", "images")
    flags.evaluation.integer("top", 10, "Number of most similar drawings to list and draw.", 1)
    flags.data.boolean("invert", False, "The drawings are white on black.")
    shared_flags.define_background(flags.data)
    trained.define_flags(flags)
    define_network(flags)
    return flags


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Predict; return the exit status."""
    from common.data import images

    flags = define_flags().parse(arguments)
    checkpoint = trained.choose(flags, ROOT, "predict")
    image = shared_flags.find_file("query", flags.query, ROOT)
    others = images.find_images(shared_flags.find_path("against", flags.against, ROOT))
    drawings = np.stack([read(path, flags.background) for path in (image, *others)])
    for notice in images.one_color_notices((image, *others), drawings):
        print(notice, file=sys.stderr)
    if flags.invert:
        drawings = 255 - drawings
    device = selection.choose(flags.device, os.environ)

    from common.keras import session
    from siamese_omniglot import evaluation, restore

    session.start(device, flags.device, "allow_fp32_to_fp16", flags.json)
    scorer = evaluation.Scorer(restore.network(checkpoint, flags))
    features = scorer.features(drawings.__getitem__, len(drawings), lambda: None)
    logits = scorer.logits(features, np.zeros(len(others), int), np.arange(1, len(others) + 1))
    similarities = 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))
    order = np.argsort(-similarities, kind="stable")
    result: dict[str, Any] = dict(
        checkpoint=checkpoint.prefix, image=image, similarities=[
            dict(other=others[number], similarity=float(similarities[number])) for number in order])
    _draw(checkpoint, drawings, order[:flags.top], similarities)
    lines = [f"{os.path.basename(image)} and {os.path.basename(row['other'])}: similarity {row['similarity']:.3f}"
             for row in result["similarities"][:flags.top]]
    if len(others) > flags.top:
        lines.append(f"... and {len(others) - flags.top} less similar ones")
    checkpoint.report("predictions.json", result, lines, flags.json)
    return 0


def read(path: str, background: str = "white") -> np.ndarray:
    """Read a drawing as uint8 [105, 105]: short side resized, center cropped.

    Args:
        path: path of an image.
        background: colour behind transparent pixels.

    Raises:
        ZooError: the image cannot be read.
    """
    from common.data import images
    from siamese_omniglot.data.omniglot import SIDE

    image = images.open_image(path, "L", background=background, upright=True)
    if image.size != (SIDE, SIDE):
        scale = SIDE / min(image.size)
        width, height = (max(SIDE, int(round(length * scale))) for length in image.size)
        left, top = (width - SIDE) // 2, (height - SIDE) // 2
        image = image.resize((width, height), _BICUBIC).crop((left, top, left + SIDE, top + SIDE))
    return np.asarray(image, np.uint8)


def _draw(checkpoint: trained.Checkpoint, drawings: np.ndarray, order: np.ndarray, similarities: np.ndarray) -> None:
    """Draw similarity.png: the drawing next to the most similar ones."""
    from common.plots import figures

    pyplot = figures.plotting(checkpoint.output_folder)
    if pyplot is None:
        return
    figure, axes = pyplot.subplots(1, 1 + len(order), figsize=(2 * (1 + len(order)), 2.4))
    axes[0].imshow(drawings[0], cmap="gray", vmin=0, vmax=255)
    for axis, number in zip(axes[1:], order):
        axis.imshow(drawings[1 + number], cmap="gray", vmin=0, vmax=255)
        axis.set_title(f"Similarity:{similarities[number]:.3f}", fontsize=9)
    for axis in axes:
        axis.axis("off")
    figures.save_figure(figure, checkpoint.file("similarity.png"))


if __name__ == "__main__":
    sys.exit(main())
