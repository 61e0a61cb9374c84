"""Compare images with others, or find the most similar ones in folders.

    python3 siamese_triplet_tf2/predict.py --query=IMAGE,... --against=IMAGE|FOLDER,... [--checkpoint=FILE|RUN_DIR]

Writes predictions.json and nearest.png to <run directory>/predict/, or to 2/, 3/, ... in it if it holds a result
already, and keeps the embeddings in predict/embeddings.npz. A query is left out of its own list. Unreadable images in
a folder are reported and left out; the exit status is then 1.
"""
from __future__ import annotations

import os
import sys
from typing import Any, Mapping, Sequence

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from common.checkpoints import trained
from common.cli import inference, program
from common.cli.parser import FlagSet
from common.data import image_search
from common.data.image_search import LeftOut
from common.devices import selection
from common.plots import figures, ranking
from siamese_triplet_tf2 import pairs, siamese_network

_VERDICTS = {True: "alike", False: "not alike"}
ROOT = os.path.dirname(os.path.abspath(__file__))


def define_flags() -> FlagSet:
    """Return the flags of prediction."""
    flags = FlagSet(__doc__ or "")
    flags.data.paths("query", "Images to find similar ones for.")
    flags.data.paths("against", "Other images, or folders of images, searched recursively.")
    flags.alias("against", "images")
    flags.evaluation.integer("top", 5, "Number of nearest images to list.", 1)
    flags.alias("top", "k")
    flags.evaluation.number("threshold", None, "Lowest cosine at which two images count as alike.", -1.0, "no verdict")
    inference.define_background(flags.data)
    trained.define_flags(flags)
    return flags


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Predict; return the exit status."""
    flags = define_flags().parse(arguments)
    checkpoint = trained.choose(flags, ROOT, "predict")
    queries = inference.find_files("query", flags.query, ROOT)
    against = inference.find_paths("against", flags.against, ROOT)
    others = image_search.find_images(against, pairs.SUFFIXES)
    left_out = LeftOut([*queries, *against])
    device = selection.choose(flags.device, os.environ)

    from common.keras import session
    from siamese_triplet_tf2 import evaluation, restore

    session.start(device, flags.device, siamese_network.NPU_PRECISION, flags.json)
    network = restore.TrainedEmbedding(checkpoint, True, flags.background)
    for path, reason in network.find_bad([*queries, *others]).items():
        left_out.add(path, f"{path}: {reason}")
    num_found, others = len(others), left_out.rest_of(others)
    candidates = [image_search.indices_besides(query, others, against) for query in queries]
    embeddings = network.embed([*queries, *others])
    cosine, l2 = (evaluation.similarities(embeddings[:len(queries)], embeddings[len(queries):], metric)
                  for metric in ("cosine", "l2"))
    found = []
    for row, (query, indices) in enumerate(zip(queries, candidates)):
        order = sorted(indices, key=lambda index: -cosine[row, index])[:flags.top]
        found.append(dict(query=query, nearest=[
            dict(image=others[index], cosine=float(cosine[row, index]), squared_distance=float(-l2[row, index]))
            for index in order]))
        if flags.threshold is not None:
            for nearest in found[-1]["nearest"]:
                nearest["alike"] = nearest["cosine"] >= flags.threshold
    lines = [line for result in found for line in _lines(result, len(queries) > 1)]
    with checkpoint.numbered("predictions.json") as place:
        _draw(place, found, flags.background)
        place.report("predictions.json", inference.of_queries(dict(
            checkpoint=checkpoint.prefix, left_out=left_out.reasons), found), lines, flags.json)
    left_out.require_none(num_found)
    return 0


def _lines(result: Mapping[str, Any], with_query: bool) -> list[str]:
    lines = [f"{result['query']}:"] if with_query else []
    for place, image in enumerate(result["nearest"], 1):
        lines.append(f"  {place:2}. cosine {image['cosine']:7.4f}  squared distance {image['squared_distance']:10.4f}"
                     f"{_judged(image, '  {:9}')}  {image['image']}")
    return lines


def _judged(image: Mapping[str, Any], form: str) -> str:
    """Format the verdict; nothing without one."""
    return form.format(_VERDICTS[image["alike"]]) if "alike" in image else ""


def _draw(place: trained.Checkpoint, found: Sequence[Mapping[str, Any]], background: str) -> None:
    """Draw nearest.png: each query and the nearest images, framed by the verdict."""
    from siamese_triplet_tf2 import restore

    queries = [(result["query"], [
        ranking.Cell(image["image"], f"cosine {image['cosine']:.3f}{_judged(image, ', {}')}", image.get("alike"))
        for image in result["nearest"]]) for result in found]
    ranking.draw(figures.plotting(), place.file("nearest.png"), place.title("nearest images by cosine"), queries,
                 lambda path: restore.image_of(path, background))


if __name__ == "__main__":
    sys.exit(main())
