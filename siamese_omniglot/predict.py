"""Compare a drawing with another one, or with those of a folder.

    python3 siamese_omniglot/predict.py --query=FILE --against=FILE|FOLDER [--checkpoint=FILE|RUN_DIR]

Drawings are black on white, as in Omniglot; --invert is for white on black. The short side of a drawing is resized to
105 pixels and the center is cropped. Prints the similarity of each pair, the probability that both show the same
character, and writes predictions.json and similarity.png to <run directory>/predict/.
"""
from __future__ import annotations

import os
import sys
from typing import Any, Mapping, Sequence

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import numpy as np

from common.checkpoints import trained
from common.cli import program, shared_flags
from common.cli.parser import REQUIRED, FlagSet
from common.devices import selection
from common.errors import ZooError
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
    flags.evaluation.number("threshold", 0.5, "Similarity from which two drawings are taken for the same character.")
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
    against = shared_flags.find_path("against", flags.against, ROOT)
    others = images.find_images(against)
    if os.path.isdir(against):
        others = [path for path in others if not os.path.samefile(path, image)]
        if not others:
            raise ZooError(f"--against={flags.against}: holds no image besides the query")
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
            dict(other=others[number], similarity=float(similarities[number]),
                 same=bool(similarities[number] >= flags.threshold)) for number in order])
    _draw(checkpoint, drawings, result["similarities"][:flags.top], order)
    lines = [f"{os.path.basename(image)} and {os.path.basename(row['other'])}: similarity {row['similarity']:.3f}, "
             f"{_verdict(row)}" for row in result["similarities"][:flags.top]]
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


def _verdict(row: Mapping[str, Any]) -> str:
    return "the same character" if row["same"] else "another character"


def _draw(checkpoint: trained.Checkpoint, drawings: np.ndarray, rows: Sequence[Mapping[str, Any]], order: np.ndarray
          ) -> None:
    """Draw similarity.png: the query and the most similar drawings in their order, framed by the verdict.

    Args:
        checkpoint: gets the picture.
        drawings: uint8 [1 + others, 105, 105], the query first.
        rows: results for the most similar drawings.
        order: int [others], the other drawings from the most to the least similar.
    """
    from common.plots import figures

    pyplot = figures.plotting(checkpoint.output_folder)
    if pyplot is None:
        return
    figure, axes = pyplot.subplots(1, 1 + len(rows), figsize=(2 * (1 + len(rows)), 2.6))
    shown = [(drawings[0], "query", "black")]
    shown += [(drawings[1 + number], f"{place}. {row['similarity']:.3f}\n{_verdict(row)}",
               figures.COLOURS[2 if row["same"] else 1])
              for place, (number, row) in enumerate(zip(order, rows), 1)]
    for axis, (drawing, title, colour) in zip(axes, shown):
        axis.imshow(drawing, cmap="gray", vmin=0, vmax=255)
        axis.set_title(title, fontsize=9)
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
        for spine in axis.spines.values():
            spine.set(visible=True, color=colour, linewidth=2)
    figures.save_figure(figure, checkpoint.file("similarity.png"))


if __name__ == "__main__":
    sys.exit(main())
