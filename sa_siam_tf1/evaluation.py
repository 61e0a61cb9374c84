"""The evaluation of trackers on a folder of sequences: find targets, track, score, draw."""
from __future__ import annotations

import functools
import json
import os
import re
import zlib
from typing import Any, Callable, NamedTuple, Sequence

import numpy as np

from common import atomic_files
from common.checkpoints.trained import Checkpoint
from common.cli.program import StopRequest
from common.errors import ZooError
from common.plots import figures
from common.run import metrics
from sa_siam_tf1 import load_opencv
from sa_siam_tf1.inference import frames, otb, sequences
from sa_siam_tf1.metrics import one_pass

TRACKERS_FOLDER = "trackers"
STILL = "still box"
_OPENCV = ("MIL", "KCF", "CSRT")  # trackers of OpenCV that need no files of weights


class Target(NamedTuple):
    """A target in a sequence."""

    name: str  # of the sequence, with .2 appended for its second target
    sequence: frames.Sequence
    truth: np.ndarray  # float64 [frames, 4], counted from 1
    notice: str  # a line to print, or ""


class Contender(NamedTuple):
    """A tracker to evaluate."""

    name: str
    make_tracker: sequences.MakeTracker
    identity: list  # everything its boxes depend on besides the sequence


def baselines() -> list[Contender]:
    """Return the trackers to compare ours with: a box that never moves, and the trackers of the installed OpenCV."""
    cv2 = load_opencv()
    makers: dict[str, Callable] = {STILL: lambda frame, box: lambda pixels: sequences.Step(list(box))}
    for name in _OPENCV:
        creators = (getattr(module, f"Tracker{name}_create", None) for module in (cv2, getattr(cv2, "legacy", None)))
        create = next(filter(None, creators), None)
        if create:
            makers[f"OpenCV {name}"] = functools.partial(_opencv_tracker, create)
    return [Contender(name, maker, [cv2.getVersionString()]) for name, maker in makers.items()]


def _opencv_tracker(create: Callable, frame: np.ndarray, box: Sequence[float]) -> Callable:
    """Track with OpenCV: `create` is the function that creates its tracker, the others are as in `MakeTracker`."""
    load_opencv().setRNGSeed(0)
    tracker, last = create(), list(box)
    tracker.init(np.ascontiguousarray(frame[..., ::-1]), tuple(int(round(value)) for value in box))

    def step(pixels: np.ndarray) -> sequences.Step:
        is_located, new_box = tracker.update(np.ascontiguousarray(pixels[..., ::-1]))
        if is_located:
            last[:] = map(float, new_box)
        return sequences.Step(list(last))

    return step


def find_targets(folder: str) -> list[Target]:
    """Find the targets of a folder of sequences, or of one sequence.

    Raises:
        ZooError: there is none, or one that cannot be scored.
    """
    targets = [target for annotated in otb.find_sequences(folder) for target in _targets_of(annotated)]
    if not targets:
        raise ZooError(f"{folder}: no sequence found, expected <name>/groundtruth_rect.txt or groundtruth.txt with "
                       "frames in <name>/img, <name>/color or <name>, or the layout of UAV123 (anno and data_seq)")
    return targets


def _targets_of(annotated: otb.Annotated) -> list[Target]:
    targets = []
    for number, path in annotated.truth.items():
        boxes = otb.read_boxes(path)
        sequence = frames.open_sequence(annotated.frames)._replace(name=annotated.name)
        if annotated.start is not None:
            start = annotated.start - sequence.first_number
            sequence = sequence.part(start, start + len(boxes))
        sequence, start, truth, notice = otb.align(sequence, boxes)
        name = sequence.name if number == 1 else f"{sequence.name}.{number}"
        targets.append(Target(name, sequence.part(start, start + len(truth)), truth, notice))
    return targets


def evaluate_tracker(contender: Contender, targets: list, folder: str, stop: StopRequest, say: Callable[[str], None]
                     ) -> dict:
    """Track and score all targets; return the scores overall and by target, as JSON values.

    Boxes are stored in the folder, from which the same tracker uses them again. Several evaluations may share it, also
    at the same time. `say` takes a line for each sequence.
    """
    by_target, all_scores, frame_seconds = {}, [], []
    for target in targets:
        tracked = _track_once(contender, target, folder, stop, say)
        scored = one_pass.scores(np.array(tracked["boxes"]), target.truth)
        all_scores.append(scored)
        frame_seconds += tracked["frame_seconds"]
        by_target[target.name] = dict(scored._asdict(), **sequences.speed(tracked["frame_seconds"]),
                                      problems=tracked["problems"])
        for problem in tracked["problems"]:
            say(f"{target.name}: {problem}")
        say(f"{contender.name}, {target.name}: AUC {scored.auc:.4f}, precision at 20 px {scored.precision_20:.4f}")
    overall = one_pass.overall(all_scores)
    return dict(overall=dict(overall._asdict(), **sequences.speed(frame_seconds)), targets=by_target)


def _track_once(contender: Contender, target: Target, folder: str, stop: StopRequest, say: Callable[[str], None]
                ) -> dict:
    key = zlib.crc32(repr([contender.identity, _fingerprint(target)]).encode())
    path = os.path.join(folder, TRACKERS_FOLDER, re.sub(r"\W+", "_", contender.name), f"{target.name}.{key:08x}.json")
    try:
        with open(path, "rb") as file:
            stored = _parse(file.read(), len(target.sequence.paths))
        if stored:
            return stored
        say(f"Notice: {path}: does not hold {len(target.sequence.paths)} tracked frames; they are tracked again")
    except FileNotFoundError:
        pass
    os.makedirs(os.path.dirname(path), exist_ok=True)
    tracked = sequences.track_sequence(target.sequence, target.truth[0], contender.make_tracker, check=stop.check)
    result = dict(boxes=tracked.boxes.tolist(), frame_seconds=tracked.frame_seconds, problems=tracked.problems)
    atomic_files.write_json(path, result)
    return result


def _parse(content: bytes, num_frames: int) -> dict | None:
    """Read the stored result of tracking; None if a file holds something else."""
    try:
        values = json.loads(content.decode("utf-8"))
        boxes, seconds = (np.array(values[name], np.float64) for name in ("boxes", "frame_seconds"))
        problems = values["problems"]
    except (ValueError, KeyError, TypeError):
        return None
    is_valid = (boxes.shape == (num_frames, 4) and np.isfinite(boxes).all() and seconds.ndim == 1
            and isinstance(problems, list))
    return dict(boxes=boxes.tolist(), frame_seconds=seconds.tolist(), problems=problems) if is_valid else None


def _fingerprint(target: Target) -> list:
    """Return paths, sizes and times of the frames, and the first box."""
    return [[path and [os.path.realpath(path), os.path.getsize(path), os.stat(path).st_mtime_ns]
             for path in target.sequence.paths], target.truth[0].tolist()]


def table(results: dict) -> list[str]:
    """Format the scores as lines of a table."""
    rows = [("tracker", "AUC", "precision at 20 px", "mean overlap", "frames/s")]
    for name, result in results.items():
        scored = result["overall"]
        rate = None if name == STILL else scored["fps"]  # its speed means nothing
        rows.append((name, f"{scored['auc']:.4f}", f"{scored['precision_20']:.4f}", f"{scored['mean_overlap']:.4f}",
                     metrics.format_number(rate, 1)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def draw(results: dict, checkpoint: Checkpoint) -> None:
    """Draw success.png and precision.png."""
    pyplot: Any = figures.plotting()
    if pyplot is None:
        return
    for curve, thresholds, key, label in (
            ("success", one_pass.OVERLAP_THRESHOLDS, "auc", "overlap threshold"),
            ("precision", one_pass.DISTANCE_THRESHOLDS, "precision_20", "distance threshold, pixels")):
        figure, axis = pyplot.subplots(figsize=(figures.WIDTH, 5))
        for name, result in results.items():
            axis.plot(thresholds, result["overall"][curve], label=f"{name} [{result['overall'][key]:.3f}]")
        axis.set_title(checkpoint.title(f"{curve}, one-pass evaluation"))
        axis.set_xlabel(label)
        axis.set_ylabel("fraction of frames")
        axis.set_ylim(0.0, 1.02)
        axis.legend()
        figures.save_figure(figure, checkpoint.file(f"{curve}.png"))
