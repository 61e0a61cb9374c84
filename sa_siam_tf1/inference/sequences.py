"""A whole sequence through a tracker, whichever: boxes, times, and what went wrong on the way. No TensorFlow."""
from __future__ import annotations

import contextlib
import time
from typing import Any, Callable, NamedTuple, Sequence

import numpy as np

from common.errors import ZooError
from sa_siam_tf1.inference import frames, ground_truth


class Step(NamedTuple):
    """What a tracker made of a frame."""

    box: Sequence[float]  # 0-based
    found: Any = None  # whatever it found besides
    warning: str = ""  # of this frame; frames with the same words are counted


# Makes a tracker of the first frame and the box in it (0-based); the tracker takes a frame.
MakeTracker = Callable[[np.ndarray, Sequence[float]], Callable[[np.ndarray], Step]]
OnFrame = Callable[[int, np.ndarray, Sequence[float], Any], None]

# frames of OTB's sequences that their first box belongs to, where it is not the first one
_FIRST_BOXES = {"david": 300}


class Aligned(NamedTuple):
    """Which frame each true box belongs to."""

    sequence: frames.Sequence
    start: int  # index of the first frame that is there and has a box
    boxes: np.ndarray  # float64 [frames, 4], 1-based, from that frame on; no more than there are frames
    notice: str  # a line about boxes and frames that do not agree, or nothing


class Tracked(NamedTuple):
    """What a tracker made of a sequence."""

    boxes: np.ndarray  # float64 [frames, 4]: x, y, width, height, 1-based; the first is the given one
    frame_seconds: list  # of each frame that was tracked, decoding and drawing not counted
    problems: list  # lines about frames that are missing or damaged, or in which the target may be lost


def align(sequence: frames.Sequence, boxes: np.ndarray) -> Aligned:
    """Find the frame of each true box.

    As many boxes as frames belong to them in order. Otherwise the frames' numbers tell: the first box is that of frame
    1 (of 0 where there is one), or of the frame that OTB has it for. Where they do not tell, as fewer boxes for frames
    that are not numbered or whose numbers begin behind them, and for a video, boxes begin at the first frame.

    Args:
        sequence: the frames.
        boxes: float64 [boxes, 4]: x, y, width, height, 1-based.

    Raises:
        ZooError: more boxes than frames that are not numbered, or no frame with a box.
    """
    if sequence.video:
        return Aligned(sequence, 0, boxes, "")
    there = [path for path in sequence.paths if path]
    if len(boxes) == len(there) < len(sequence.paths):  # numbers are left out on purpose
        sequence = sequence._replace(paths=there, first_number=1, is_counted=False)
    count, num_boxes = len(sequence.paths), len(boxes)
    offset = _index_of_first_box(sequence, num_boxes)
    start = max(offset, 0)
    boxes = boxes[start - offset:count - offset]
    usable = [index for index, visible in enumerate(ground_truth.has_target(boxes))
              if visible and sequence.paths[start + index]]
    if not usable:
        raise ZooError(f"{sequence.name}: has {num_boxes} boxes for {count} frames, and for none of these one with an "
                       "extent; expected x,y,width,height with width and height of 1 or more")
    start, boxes = start + usable[0], boxes[usable[0]:]
    notice = ""
    if not len(boxes) == num_boxes == count:
        first = sequence.first_number + start
        notice = (f"Notice: {sequence.name} has {num_boxes} boxes for {count} frames; those of frames {first} to "
                  f"{first + len(boxes) - 1} are taken")
    return Aligned(sequence, start, boxes, notice)


def _index_of_first_box(sequence: frames.Sequence, num_boxes: int) -> int:
    """Index of the frame that the first box belongs to; negative if that frame is missing."""
    count, first = len(sequence.paths), sequence.first_number
    if num_boxes == count or not sequence.is_counted and num_boxes < count:
        return 0
    if not sequence.is_counted:
        raise ZooError(f"{sequence.name}: has {num_boxes} boxes for {count} frames, whose names do not count; expected "
                       "a box for each frame, or names such as 0001.jpg")
    number = _FIRST_BOXES.get(sequence.name.lower())
    if number is None or number + num_boxes > first + count:
        number = min(first, 1)
    return number - first if number + num_boxes > first else 0


def track_sequence(sequence: frames.Sequence, first_box: Sequence[float], make_tracker: MakeTracker,
                   on_frame: OnFrame | None = None, check: Callable[[], None] = lambda: None) -> Tracked:
    """Track through a sequence; where there is no frame the target is taken to be where it was.

    Args:
        sequence: the frames.
        first_box: x, y, width, height in the first frame, 1-based.
        make_tracker: see above.
        on_frame: is given number (from 0), pixels, box (1-based) and what the tracker found besides, for each frame
            there is.
        check: called before every frame; may raise to end early.

    Raises:
        ZooError: there is no first frame, the box is not in it, or the tracker gives up.
    """
    tracker, boxes, seconds, problems = None, [np.array(first_box, np.float64)], [], []
    warned: dict[str, list] = {}
    with contextlib.closing(frames.frames_of(sequence, problems.append)) as found_frames:
        for number, frame in enumerate(found_frames, sequence.first_number):
            check()
            if frame.pixels is None:
                if tracker is None:
                    raise ZooError(f"{sequence.name}: the first frame cannot be had: {frame.problem}")
                problems.append(f"Warning: frame {number}: {frame.problem}; the target stays where it was")
                boxes.append(boxes[-1])
                continue
            step = Step(())
            if tracker is None:
                require_box(sequence.name, first_box, frame.pixels)
                tracker = make_tracker(frame.pixels, to_zero_based(first_box))
            else:
                started = time.perf_counter()
                step = _step(tracker, frame.pixels, f"{sequence.name}: frame {number}")
                seconds.append(time.perf_counter() - started)
                boxes.append(np.array([step.box[0] + 1.0, step.box[1] + 1.0, *step.box[2:]]))
                if step.warning:
                    warned.setdefault(step.warning, []).append(number)
            if on_frame:
                on_frame(number - sequence.first_number, frame.pixels, boxes[-1], step.found)
    if tracker is None:
        raise ZooError(f"{sequence.name}: holds no frame")
    problems += [f"Warning: {len(numbers)} of {len(boxes)} frames, the first of them {numbers[0]}: {warning}"
                 for warning, numbers in warned.items()]
    return Tracked(np.array(boxes), seconds, problems)


def _step(tracker: Callable[[np.ndarray], Step], pixels: np.ndarray, where: str) -> Step:
    try:
        return tracker(pixels)
    except ZooError as error:
        raise ZooError(f"{where}: {error}") from None


def to_zero_based(box: Sequence[float]) -> list[float]:
    """Count pixels from 0 instead of 1."""
    return [float(box[0]) - 1.0, float(box[1]) - 1.0, float(box[2]), float(box[3])]


def require_box(name: str, box: Sequence[float], pixels: np.ndarray) -> None:
    """Refuse a first box that is none, or has no pixel in the frame.

    Args:
        name: of the sequence.
        box: x, y, width, height, 1-based.
        pixels: [height, width, 3].
    """
    height, width = pixels.shape[:2]
    x, y, box_width, box_height = (float(value) for value in box)
    said = f"{name}: the first box {x:g},{y:g},{box_width:g},{box_height:g}"
    if not (np.isfinite([x, y, box_width, box_height]).all() and box_width >= 1 and box_height >= 1):
        raise ZooError(f"{said} has no extent, expected x,y,width,height with width and height of 1 or more")
    if x + box_width <= 1 or y + box_height <= 1 or x > width or y > height:
        raise ZooError(f"{said} lies outside of the frame of {width} x {height} pixels")


def speed(frame_seconds: Sequence[float]) -> dict:
    """Frames per second, and percentiles of a frame's time; None where nothing was tracked."""
    if not frame_seconds:
        return dict(fps=None, ms_median=None, ms_p90=None, ms_p99=None)
    median, p90, p99 = np.percentile(np.array(frame_seconds) * 1e3, [50, 90, 99])
    return dict(fps=1e3 / float(median), ms_median=float(median), ms_p90=float(p90), ms_p99=float(p99))


def boxes_text(boxes: np.ndarray) -> str:
    """Boxes as OTB results: x,y,width,height a line, 1-based."""
    return "".join(",".join(f"{value:.4f}" for value in box) + "\n" for box in boxes)
