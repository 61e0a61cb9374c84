"""Run any tracker over a whole sequence: boxes, times, and what went wrong on the way."""
from __future__ import annotations

import contextlib
import time
from typing import Any, Callable, NamedTuple, Sequence

import numpy as np

from common import console
from common.errors import ZooError
from sa_siam_tf1.inference import frames
from sa_siam_tf1.inference.otb import to_zero_based


class Step(NamedTuple):
    """What a tracker returns for a frame."""

    box: Sequence[float]  # counted from 0
    details: Any = None  # whatever else it returns
    warning: str = ""  # about this frame; frames with the same warning are counted


# Makes a tracker from the first frame and the box in it (counted from 0); the tracker takes a frame.
MakeTracker = Callable[[np.ndarray, Sequence[float]], Callable[[np.ndarray], Step]]
# Takes a frame's index, its pixels, the box (counted from 1) and the tracker's details.
OnFrame = Callable[[int, np.ndarray, Sequence[float], Any], None]


class Tracked(NamedTuple):
    """A sequence with the boxes of a tracker."""

    boxes: np.ndarray  # float64 [frames, 4]: x, y, width, height, counted from 1; the first is the given one
    frame_seconds: list  # of each frame that was tracked, without decoding and drawing
    problems: list  # lines about frames that are missing or damaged, or in which the target may be lost


def track_sequence(sequence: frames.Sequence, first_box: Sequence[float], make_tracker: MakeTracker,
                   on_frame: OnFrame | None = None, check: Callable[[], None] = lambda: None) -> Tracked:
    """Track a target through a sequence; where a frame is missing the target stays where it was.

    The first box is x, y, width, height in the first frame, counted from 1. `on_frame` is called for each frame that
    exists, `check` before every frame; it may raise to end early.

    Raises:
        ZooError: the first frame is missing, the box is not in it, or the tracker fails.
    """
    tracker, boxes, seconds, problems = None, [np.array(first_box, np.float64)], [], []
    warnings: dict[str, list] = {}
    with contextlib.closing(frames.frames_of(sequence, problems.append)) as decoded, contextlib.closing(
            console.progress(decoded, f"tracking {sequence.name}", "frame", sequence.num_frames)) as shown:
        for number, frame in enumerate(shown, sequence.first_number):
            check()
            if frame.pixels is None:
                if tracker is None:
                    raise ZooError(f"{sequence.name}: the first frame cannot be read: {frame.problem}")
                problems.append(f"Warning: frame {number}: {frame.problem}; the target stays where it was")
                boxes.append(boxes[-1])
                continue
            step = Step(())
            if tracker is None:
                require_box(sequence.name, first_box, frame.pixels)
                tracker = make_tracker(frame.pixels, to_zero_based(first_box))
            else:
                started = time.perf_counter()
                try:
                    step = tracker(frame.pixels)
                except ZooError as error:
                    raise ZooError(f"{sequence.name}: frame {number}: {error}") from None
                seconds.append(time.perf_counter() - started)
                boxes.append(np.array([step.box[0] + 1.0, step.box[1] + 1.0, *step.box[2:]]))
                if step.warning:
                    warnings.setdefault(step.warning, []).append(number)
            if on_frame:
                on_frame(number - sequence.first_number, frame.pixels, boxes[-1], step.details)
    if tracker is None:
        raise ZooError(f"{sequence.name}: contains no frame")
    problems += [f"Warning: {len(numbers)} of {len(boxes)} frames, the first of them {numbers[0]}: {warning}"
                 for warning, numbers in warnings.items()]
    return Tracked(np.array(boxes), seconds, problems)


def require_box(name: str, box: Sequence[float], pixels: np.ndarray) -> None:
    """Refuse the first box of a sequence, counted from 1, without extent, or without a pixel in the frame."""
    height, width = pixels.shape[:2]
    x, y, box_width, box_height = (float(value) for value in box)
    described = f"{name}: the first box {x:g},{y:g},{box_width:g},{box_height:g}"
    if not (np.isfinite([x, y, box_width, box_height]).all() and box_width >= 1 and box_height >= 1):
        raise ZooError(f"{described} has no extent, expected x,y,width,height with width and height of 1 or more")
    if x + box_width <= 1 or y + box_height <= 1 or x > width or y > height:
        raise ZooError(f"{described} lies outside of the frame of {width} x {height} pixels")


def speed(frame_seconds: Sequence[float]) -> dict:
    """Return frames per second and percentiles of the time of a frame; None where nothing was tracked."""
    if not frame_seconds:
        return dict(fps=None, ms_median=None, ms_p90=None, ms_p99=None)
    median, p90, p99 = np.percentile(np.array(frame_seconds) * 1e3, [50, 90, 99])
    return dict(fps=1e3 / float(median), ms_median=float(median), ms_p90=float(p90), ms_p99=float(p99))
