"""Sequences with true boxes: where data sets keep them, files of boxes, which frames they belong to.

    OTB, LaSOT        <name>/img/0001.jpg            <name>/groundtruth_rect.txt or groundtruth.txt
    VOT               <name>/color/00000001.jpg      <name>/groundtruth.txt
    GOT-10k           <name>/00000001.jpg            <name>/groundtruth.txt
    UAV123            data_seq/UAV123/<name>/*.jpg   anno/UAV123/<name>.txt
    TrackingNet       frames/<name>/0.jpg            anno/<name>.txt

Sequences can be one folder deeper, as in the classes of LaSOT and the parts of GOT-10k. Pixels are counted from 1, as
in OTB.
"""
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
# first frames of sequences that UAV123 cuts out of a longer one, whose parts called _1 begin at frame 1
_UAV123_STARTS = dict(
    bird1_2=775, bird1_3=1573, car1_2=751, car1_3=1627, car6_2=487, car6_3=1807, car6_4=2953, car6_5=3925, car8_2=1357,
    car16_2=415, group1_2=1333, group1_3=2515, group1_4=3925, group2_2=907, group2_3=1771, group3_2=1567,
    group3_3=2827, group3_4=4369, person2_2=1189, person4_2=1501, person5_2=877, person7_2=1249, person8_2=1075,
    person12_2=601, person14_2=847, person14_3=1813, person17_2=1501, person19_2=1243, person19_3=2791, truck4_2=577,
    uav1_2=1555, uav1_3=2473)


class Annotated(NamedTuple):
    """A sequence with true boxes."""

    name: str
    frames: str  # folder
    truth: dict  # files of boxes by the target's number
    start: int | None = None  # number of the first frame, for a sequence that is a part of what the folder holds


def find_sequences(folder: str) -> list[Annotated]:
    """Find the sequences in a folder, or the one that it is; none for other layouts."""
    own = os.path.abspath(folder)
    inner = [os.path.join(folder, name) for name in listing.folders(folder)]
    return (_with_boxes_inside([own]) or _with_boxes_apart(folder) or _with_boxes_inside(inner)
            or _with_boxes_inside([os.path.join(path, name) for path in inner for name in listing.folders(path)]))


def _with_boxes_inside(folders: list[str]) -> list[Annotated]:
    truths = ((path, truth_files(path)) for path in folders)
    return [Annotated(os.path.basename(path), path, truth) for path, truth in truths if truth]


def _with_boxes_apart(folder: str) -> list[Annotated]:
    anno, sequences = os.path.join(folder, "anno"), []
    for part in ("", *listing.folders(anno)):
        files = listing.files(os.path.join(anno, part), (".txt",)) if os.path.isdir(anno) else []
        roots = [os.path.join(folder, *names) for names in (("frames",), ("data_seq", part), ("data_seq", "UAV123"))]
        for file in files:
            name = listing.stem_of(file)
            whole = name.rpartition("_")[0]  # of a sequence that is cut out of it
            paths = [os.path.join(root, candidate) for candidate in filter(None, (name, whole)) for root in roots]
            path = next(filter(os.path.isdir, paths), None)
            if path:
                start = None if os.path.basename(path) == name else _UAV123_STARTS.get(name, 1)
                sequences.append(Annotated(name, path, {1: os.path.join(anno, part, file)}, start))
    return sequences


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
    """Find the frame of each true box, float64 [boxes, 4]: x, y, width, height, counted from 1.

    As many boxes as frames belong to them in order. Otherwise the numbers of the frames decide: the first box belongs
    to frame 1 (to 0 where that exists), or to the frame of OTB's table. Where the numbers do not tell, as with fewer
    boxes for frames that are not numbered, with numbers that start behind the boxes, and with a video, the first box
    belongs to the first frame.

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
