"""Compare drawings with others, or find the most similar ones in folders.

    python3 siamese_omniglot/predict.py --query=FILE,... --against=FILE|FOLDER,... [--checkpoint=FILE|RUN_DIR]

Drawings are black on white, as in Omniglot; --invert is for white on black. The short side of a drawing is resized to
105 pixels and the center is cropped. Prints the similarity of each pair, the probability that both show the same
character, and writes predictions.json and similarity.png to <run directory>/predict/, or to 2/, 3/, ... in it if it
holds a result already. A query is left out of its own list. Unreadable drawings in a folder are reported and
left out; the exit status is then 1.
"""
from __future__ import annotations

import os
import sys
from typing import Any, Callable, Mapping, Sequence

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    import common  # noqa: F401 - which says what packages are missing

import numpy as np

from common import console
from common.checkpoints import trained
from common.cli import inference, program
from common.cli.parser import FlagSet
from common.data import image_search, images
from common.data.image_search import LeftOut
from common.devices import selection
from common.plots import figures, ranking
from siamese_omniglot.data.omniglot import SIDE
from siamese_omniglot.evaluate import define_network

ROOT = os.path.dirname(os.path.abspath(__file__))
_BICUBIC = 3  # PIL's constant


def define_flags() -> FlagSet:
    """Return the flags of prediction."""
    flags = FlagSet(__doc__ or "")
    flags.data.paths("query", "Images of drawings.")
    flags.alias("query", "image")
    flags.data.paths("against", "Drawings to compare with, or folders of them, searched recursively.")
    flags.alias("against", "other", "images")
    flags.evaluation.integer("top", 10, "Number of most similar drawings to list and draw.", 1)
    flags.evaluation.number("threshold", 0.5, "Lowest similarity at which two drawings count as the same character.")
    flags.data.boolean("invert", False, "The drawings are white on black.")
    inference.define_background(flags.data)
    trained.define_flags(flags)
    define_network(flags)
    return flags


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Predict; return the exit status."""
    flags = define_flags().parse(arguments)
    checkpoint = trained.choose(flags, ROOT, "predict")
    queries = inference.find_files("query", flags.query, ROOT)
    against = inference.find_paths("against", flags.against, ROOT)
    others = image_search.find_images(against)
    left_out = LeftOut([*queries, *against])
    decoded = left_out.read([*queries, *others], lambda path: read(path, flags.background))
    paths, drawings = list(decoded), np.stack(list(decoded.values()))
    num_found, others = len(others), left_out.rest_of(others)
    candidates = [image_search.indices_besides(query, others, against) for query in queries]
    for notice in image_search.one_color_notices(paths, drawings):
        console.notice(notice)
    if flags.invert:
        drawings = 255 - drawings
    device = selection.choose(flags.device, os.environ)

    from common.keras import session
    from siamese_omniglot import evaluation, restore

    session.start(device, flags.device, "allow_fp32_to_fp16", flags.json)
    scorer = evaluation.Scorer(restore.network(checkpoint, flags))
    features = scorer.features(drawings.__getitem__, len(drawings), lambda: None)
    row_of = {path: row for row, path in enumerate(paths)}
    found = []
    for query, indices in zip(queries, candidates):
        rows = np.array([row_of[others[index]] for index in indices])
        logits = scorer.logits(features, np.full(len(rows), row_of[query]), rows)
        similarities = 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))
        found.append(dict(image=query, similarities=[
            dict(other=paths[rows[place]], similarity=float(similarities[place]),
                 same=bool(similarities[place] >= flags.threshold))
            for place in np.argsort(-similarities, kind="stable")]))
    with checkpoint.numbered("predictions.json") as place:
        _draw(place, found, flags.top, lambda path: drawings[row_of[path]])
        place.report("predictions.json", inference.of_queries(dict(
            checkpoint=checkpoint.prefix, left_out=left_out.reasons), found),
            [line for result in found for line in _lines(result, flags.top)], flags.json)
    left_out.require_none(num_found)
    return 0


def read(path: str, background: str = "white") -> np.ndarray:
    """Read a drawing as uint8 [105, 105]: short side resized, center cropped; ZooError if the image cannot be read."""
    image = images.open_image(path, "L", background=background, upright=True)
    if image.size != (SIDE, SIDE):
        scale = SIDE / min(image.size)
        width, height = (max(SIDE, int(round(length * scale))) for length in image.size)
        left, top = (width - SIDE) // 2, (height - SIDE) // 2
        image = image.resize((width, height), _BICUBIC).crop((left, top, left + SIDE, top + SIDE))
    return np.asarray(image, np.uint8)


def _lines(result: Mapping[str, Any], top: int) -> list[str]:
    name, rows = os.path.basename(result["image"]), result["similarities"]
    lines = [f"{name} and {os.path.basename(row['other'])}: similarity {row['similarity']:.3f}, "
             f"{'the same' if row['same'] else 'another'} character" for row in rows[:top]]
    return lines + ([f"... and {len(rows) - top} less similar ones"] if len(rows) > top else [])


def _draw(place: trained.Checkpoint, found: Sequence[Mapping[str, Any]], top: int,
          drawing_of: Callable[[str], np.ndarray]) -> None:
    """Draw similarity.png: each query and the most similar drawings in their order, framed by the verdict."""
    queries = [(result["image"], [
        ranking.Cell(row["other"], f"{row['similarity']:.3f}, {'same' if row['same'] else 'another'}", row["same"])
        for row in result["similarities"][:top]]) for result in found]
    ranking.draw(figures.plotting(), place.file("similarity.png"),
                 place.title("drawings by the probability of the same character"), queries, drawing_of)


if __name__ == "__main__":
    sys.exit(main())
