"""Predict with Circle loss whether two faces are the same person, or search faces in folders.

    python3 circleloss_tf1/predict.py --query=FILE,... --against=FILE|FOLDER,... [--checkpoint=FILE|RUN_DIR]

The threshold is the one that evaluate.py stored, unless --far or --threshold is given; a search does without one too.
Writes prediction.json and nearest.png to <run directory>/predict/, or to 2/, 3/, ... in it if it holds a result
already. A search keeps the embeddings in predict/embeddings.npz and uses them again for files that have not changed. A
query is left out of its own list. Unreadable images in a folder are reported and left out; the exit status is then 1.
"""
from __future__ import annotations

import dataclasses
import os
import sys
from typing import Any, Iterator, Mapping, Sequence

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    import common  # noqa: F401 - which says what packages are missing

import numpy as np

from circleloss_tf1 import lfw, train_acc, usage_flags
from circleloss_tf1.faces import ROOT, SUFFIXES
from circleloss_tf1.thresholds import Measured
from common import console
from common.checkpoints.trained import Checkpoint
from common.cli import inference, program
from common.cli.parser import FlagSet
from common.data import image_search
from common.data.image_search import LeftOut
from common.devices import selection
from common.errors import ZooError
from common.plots import figures, ranking

_SHORT_VERDICTS = {True: ", same", False: ", other", None: ""}
_MIN_BATCH = 16  # images whose statistics judge a pair without a warning


def define_flags() -> FlagSet:
    """Return the flags of prediction."""
    flags = FlagSet(__doc__ or "")
    flags.data.paths("query", "Images of faces, aligned like the training images.")
    flags.alias("query", "first")
    flags.data.paths("against", "Images of other faces, or folders of them, searched recursively.")
    flags.alias("against", "second", "images")
    flags.evaluation.integer("top", 10, "Number of nearest faces to list and draw.", 1)
    inference.define_background(flags.data)
    usage_flags.define_far(flags, None, "that of evaluate.py")
    flags.evaluation.number("threshold", None, "Distance below which two faces are the same person.",
                            unset="the one that evaluate.py has stored")
    usage_flags.define(flags)
    return flags


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Predict; return the exit status."""
    flags = define_flags().parse(arguments)
    checkpoint = usage_flags.choose(flags, "predict")
    queries = inference.find_files("query", flags.query, ROOT)
    against = inference.find_paths("against", flags.against, ROOT)
    faces = image_search.find_images(against, SUFFIXES)
    left_out, num_found = LeftOut([*queries, *against]), len(faces)
    is_pair = len(queries) == 1 and against == faces and len(faces) == 1
    measured = Measured.read(checkpoint, flags)
    if is_pair and measured.threshold is None:
        raise ZooError(f"{measured.result_path}: is missing, and with it the threshold; run evaluate.py first, or give "
                       "--threshold")
    device = selection.choose(flags.device, os.environ)

    from circleloss_tf1 import restore, search
    from common.graph.session import inference_session

    network = restore.network_settings(checkpoint, flags)
    network = dataclasses.replace(network, background=flags.background, switches=dataclasses.replace(
        network.switches, exif_orientation=True))
    index = None
    with inference_session(device, flags.device, train_acc.NPU_PRECISION, flags.json) as session:
        searched = search.FaceSearch(session, checkpoint, network, measured, flags.ema_evaluation)
        if is_pair:
            of_queries, of_faces = np.split(searched.embed_pair(queries[0], faces[0]), 2)
        else:
            faces, of_queries, of_faces, index = searched.embed(queries, faces, left_out)
    _warn(measured, searched.batch_size if searched.needs_context else None, is_pair)
    candidates = [image_search.indices_besides(query, faces, against) for query in queries]
    found = [_nearest(query, [faces[index] for index in indices], lfw.row_distances(
        np.broadcast_to(embedding, (len(indices), len(embedding))), of_faces[indices], measured.metric), flags.top,
        measured.threshold) for query, embedding, indices in zip(queries, of_queries, candidates)]
    result: dict[str, Any] = dict(checkpoint=checkpoint.prefix, metric=measured.metric, threshold=measured.threshold,
                                  threshold_by=measured.threshold_by)
    if measured.thresholds is not None:
        result["thresholds"] = measured.thresholds._asdict()
    if index is None:
        (nearest,) = found[0]["nearest"]
        result.update(first=queries[0], second=faces[0], distance=nearest["distance"], same=nearest["same"])
        lines = _pair_lines(nearest, measured)
    else:
        result = inference.of_queries(dict(result, index=index, left_out=left_out.reasons), found)
        lines = _search_lines(found, measured, index)
    with checkpoint.numbered("prediction.json") as place:
        _draw(place, found, flags.background)
        place.report("prediction.json", result, lines, flags.json)
    left_out.require_none(num_found)
    return 0


def _warn(measured: Measured, batch_size: int | None, is_pair: bool) -> None:
    """Print what makes a verdict doubtful; the size is that of the batch whose statistics normalize a query."""
    if measured.threshold_by == "far" and measured.thresholds and not measured.thresholds.resolves_far:
        console.notice(measured.thresholds.warning())
    if batch_size is not None and not (is_pair and batch_size >= _MIN_BATCH):
        advice = ("; run evaluate.py with --lfw_batch_size=30 first, so that the pair is looked at among LFW's images"
                  if is_pair else ", so equal images can differ; networks of --batch_norm=moving do not have this")
        console.notice("Warning: this network normalizes with the statistics of the batch, here of "
                       f"{batch_size} images{advice}")


def _nearest(query: str, faces: Sequence[str], distances: np.ndarray, top: int, threshold: float | None
             ) -> dict[str, Any]:
    """Return what was found for a query: the nearest faces, with a verdict if there is a threshold."""
    return dict(query=query, nearest=[
        dict(image=faces[index], distance=float(distances[index]),
             same=None if threshold is None else bool(distances[index] < threshold))
        for index in np.argsort(distances, kind="stable")[:top]])


def _pair_lines(nearest: Mapping[str, Any], measured: Measured) -> Iterator[str]:
    distance = nearest["distance"]
    yield f"{_verdict(nearest['same'])}: distance {distance:.4f}, threshold {measured.threshold:.4f}"
    thresholds = measured.thresholds
    if thresholds is not None:
        for name, value in (("best accuracy", thresholds.best_accuracy), (f"FAR {thresholds.far:g}",
                                                                          thresholds.at_far)):
            yield f"  {name}: threshold {value:.4f}, {_verdict(distance < value)}"


def _search_lines(found: Sequence[Mapping[str, Any]], measured: Measured, index: Mapping[str, Any]) -> Iterator[str]:
    yield f"Index: {index['path']}, {index['computed']} of {index['images']} embeddings computed now"
    if measured.threshold is None:
        yield "No verdict: there is no threshold; run evaluate.py first, or give --threshold"
    else:
        by = {"accuracy": ", best accuracy", "far": ", by the false accept rate"}.get(str(measured.threshold_by), "")
        yield f"Threshold: {measured.threshold:.4f}{by}"
    for result in found:
        yield f"{result['query']}:"
        for place, face in enumerate(result["nearest"], 1):
            verdict = "" if face["same"] is None else f"  {_verdict(face['same']):15}"
            yield f"  {place:2}. distance {face['distance']:.4f}{verdict}  {face['image']}"


def _verdict(is_same: bool) -> str:
    return "the same person" if is_same else "two people"


def _draw(place: Checkpoint, found: Sequence[Mapping[str, Any]], background: str) -> None:
    """Draw nearest.png: each query and the nearest faces, framed by the verdict."""
    queries = [(result["query"], [
        ranking.Cell(face["image"], f"distance {face['distance']:.4f}{_SHORT_VERDICTS[face['same']]}", face["same"])
        for face in result["nearest"]]) for result in found]
    ranking.draw(figures.plotting(), place.file("nearest.png"), place.title("nearest faces"), queries,
                 lambda path: image_search.thumbnail(path, background))


if __name__ == "__main__":
    sys.exit(main())
