"""The conventions of OTB: files of true boxes, which frames they belong to, pixels counted from 1."""
from __future__ import annotations

import os
import re
from typing import NamedTuple, Sequence

import numpy as np

from common.data import listing
from common.errors import ZooError
from sa_siam_tf1.inference import frames
from sa_siam_tf1.metrics.one_pass import has_target

# numbers of the frames that the first boxes of OTB's sequences belong to, where that is not the first frame
_FIRST_FRAMES = {"david": 300}
_TRUTH_FILE = re.compile(r"groundtruth(_rect)?(\.([0-9]+))?\.txt")
_SEPARATORS = re.compile(r"[,\s;]+")


class Aligned(NamedTuple):
    """Which frame each true box belongs to."""

    sequence: frames.Sequence
    start: int  # index of the first frame that exists and has a box
    boxes: np.ndarray  # float64 [frames, 4], counted from 1, from that frame on; at most one for each frame
    notice: str  # a line about boxes and frames that do not agree, or ""


def truth_files(folder: str) -> dict[int, str]:
    """Find the files of true boxes in a sequence's folder, by the target's number, which is 1 where none is given.

    Of several for one target, groundtruth_rect.txt goes before groundtruth_rect.1.txt and that before groundtruth.txt.
    """
    files: dict[int, str] = {}
    names = listing.names(folder) if os.path.isdir(folder) else []
    for name in sorted(names, key=lambda name: ("_rect" not in name, len(name), name)):
        match = _TRUTH_FILE.fullmatch(name)
        if match:
            files.setdefault(int(match.group(3) or 1), os.path.join(folder, name))
    return dict(sorted(files.items()))


def read_boxes(path: str) -> np.ndarray:
    """Read boxes, one x, y, width, height a line, separated by commas, blanks or tabs.

    Returns:
        float64 [frames, 4]. A line of NaN, or a box without extent, means that the target is not visible.

    Raises:
        ZooError: another format, or no line.
    """
    with open(path, "rb") as file:
        content = file.read()
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ZooError(f"{path}: is not text; expected a box, x,y,width,height, on each line") from None
    boxes = [_read_box(path, number, line) for number, line in enumerate(lines, 1)
             if line.strip() and not line.startswith("#")]
    if not boxes:
        raise ZooError(f"{path}: holds no box")
    return np.array(boxes, np.float64)


def _read_box(path: str, line_number: int, line: str) -> list[float]:
    try:
        values = [float(value) for value in _SEPARATORS.split(line.strip(" \t\r\n,;"))]
    except ValueError as error:
        raise ZooError(f"{path}: line {line_number} is not a box ({error})") from None
    if len(values) == 8:  # a polygon of VOT: its upright bounding box
        x, y = values[0::2], values[1::2]
        values = [min(x), min(y), max(x) - min(x), max(y) - min(y)]
    if len(values) != 4:
        raise ZooError(f"{path}: line {line_number} has {len(values)} numbers, expected x, y, width, height")
    return values


def align(sequence: frames.Sequence, boxes: np.ndarray) -> Aligned:
    """Find the frame of each true box.

    As many boxes as frames belong to them in order. Otherwise the numbers of the frames decide: the first box belongs
    to frame 1 (to 0 where that exists), or to the frame of OTB's table. Where the numbers do not tell, as with fewer
    boxes for frames that are not numbered, with numbers that start behind the boxes, and with a video, the first box
    belongs to the first frame.

    Args:
        sequence: the frames.
        boxes: float64 [boxes, 4]: x, y, width, height, counted from 1.

    Raises:
        ZooError: more boxes than frames that are not numbered, or no frame with a box.
    """
    if sequence.video:
        return Aligned(sequence, 0, boxes, "")
    existing = [path for path in sequence.paths if path]
    if len(boxes) == len(existing) < len(sequence.paths):  # numbers are left out on purpose
        sequence = sequence._replace(paths=existing, first_number=1, is_numbered=False)
    num_frames, num_boxes = len(sequence.paths), len(boxes)
    offset = _index_of_first_box(sequence, num_boxes)
    start = max(offset, 0)
    boxes = boxes[start - offset:num_frames - offset]
    usable = [index for index, is_visible in enumerate(has_target(boxes))
              if is_visible and sequence.paths[start + index]]
    if not usable:
        raise ZooError(f"{sequence.name}: has {num_boxes} boxes for {num_frames} frames, and for none of these one "
                       "with an extent; expected x,y,width,height with width and height of 1 or more")
    start, boxes = start + usable[0], boxes[usable[0]:]
    notice = ""
    if not len(boxes) == num_boxes == num_frames:
        first = sequence.first_number + start
        notice = (f"Notice: {sequence.name} has {num_boxes} boxes for {num_frames} frames; those of frames {first} to "
                  f"{first + len(boxes) - 1} are used")
    return Aligned(sequence, start, boxes, notice)


def _index_of_first_box(sequence: frames.Sequence, num_boxes: int) -> int:
    """Return the index of the frame that the first box belongs to; negative if that frame is missing."""
    num_frames, first = len(sequence.paths), sequence.first_number
    if num_boxes == num_frames or not sequence.is_numbered and num_boxes < num_frames:
        return 0
    if not sequence.is_numbered:
        raise ZooError(f"{sequence.name}: has {num_boxes} boxes for {num_frames} frames that are not numbered; "
                       "expected a box for each frame, or names such as 0001.jpg")
    number = _FIRST_FRAMES.get(sequence.name.lower())
    if number is None or number + num_boxes > first + num_frames:
        number = min(first, 1)
    return number - first if number + num_boxes > first else 0


def to_zero_based(box: Sequence[float]) -> list[float]:
    """Count pixels from 0 instead of 1."""
    return [float(box[0]) - 1.0, float(box[1]) - 1.0, float(box[2]), float(box[3])]


def boxes_text(boxes: np.ndarray) -> str:
    """Format boxes as OTB's results: x,y,width,height a line, counted from 1."""
    return "".join(",".join(f"{value:.4f}" for value in box) + "\n" for box in boxes)
