"""Files of true boxes. No TensorFlow."""
from __future__ import annotations

import os
import re

import numpy as np

from common.errors import ZooError

_NAME = re.compile(r"groundtruth(_rect)?(\.([0-9]+))?\.txt")
_SEPARATORS = re.compile(r"[,\s;]+")


def files_in(folder: str) -> dict[int, str]:
    """Find the files of true boxes in a sequence's folder, by the target's number, which is 1 where none is given.

    Of several for one target, groundtruth_rect.txt goes before groundtruth_rect.1.txt and that before groundtruth.txt.
    """
    found: dict[int, str] = {}
    for name in sorted(os.listdir(folder), key=lambda name: ("_rect" not in name, len(name), name)):
        match = _NAME.fullmatch(name)
        if match:
            found.setdefault(int(match.group(3) or 1), os.path.join(folder, name))
    return dict(sorted(found.items()))


def read_boxes(path: str) -> np.ndarray:
    """Read boxes, one x, y, width, height a line, separated by commas, blanks or tabs.

    Returns:
        float64 [frames, 4]. A line of NaN, or a box without extent, says that the target is not to be seen.

    Raises:
        ZooError: another format, or no line.
    """
    with open(path, "rb") as file:
        content = file.read()
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ZooError(f"{path}: is no text; expected a box, x,y,width,height, on each line") from None
    boxes = [_box(path, number, line) for number, line in enumerate(lines, 1)
             if line.strip() and not line.startswith("#")]
    if not boxes:
        raise ZooError(f"{path}: holds no box")
    return np.array(boxes, np.float64)


def _box(path: str, number: int, line: str) -> list[float]:
    try:
        values = [float(value) for value in _SEPARATORS.split(line.strip(" \t\r\n,;"))]
    except ValueError as error:
        raise ZooError(f"{path}: line {number} is no box ({error})") from None
    if len(values) == 8:  # a polygon of VOT: its upright bounding box
        x, y = values[0::2], values[1::2]
        values = [min(x), min(y), max(x) - min(x), max(y) - min(y)]
    if len(values) != 4:
        raise ZooError(f"{path}: line {number} has {len(values)} numbers, expected x, y, width, height")
    return values


def has_target(boxes: np.ndarray) -> np.ndarray:
    """Whether boxes say that the target is to be seen; bool [frames]."""
    with np.errstate(invalid="ignore"):
        return np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
