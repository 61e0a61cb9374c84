"""Frames of a sequence: an OTB folder, a folder of images or a video, read ahead of the tracker. No TensorFlow."""
from __future__ import annotations

import concurrent.futures
import os
import re
import warnings
from typing import Callable, Iterator, NamedTuple

import numpy as np
from PIL import Image

from common import images
from common.program import ZooError
from sa_siam_tf1 import opencv

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg")
GROUND_TRUTH_NAMES = ("groundtruth_rect.txt", "groundtruth_rect.1.txt", "groundtruth.txt")
MIN_SIDE = 8
_FORMATS = ("PNG", "JPEG", "BMP")
_READ_AHEAD = 8
_DIGITS = re.compile("([0-9]+)")
_COUNTED = re.compile("(.*?)([0-9]+)")  # prefix and number
_BOX_SEPARATORS = re.compile(r"[,\s;]+")


class Sequence(NamedTuple):
    """A sequence of frames."""

    name: str
    paths: list  # of the frames in order, None for a number that is missing; empty for a video
    video: str | None
    ground_truth: np.ndarray | None  # float64 [frames, 4]: x, y, width, height, 1-based as OTB has them


class Frame(NamedTuple):
    """A frame, or why there is none."""

    pixels: np.ndarray | None  # uint8 [height, width, 3], RGB
    problem: str


def read_frame(path: str) -> np.ndarray:
    """Decode a color or gray image of 8 or 16 bits to RGB.

    Returns:
        uint8 [height, width, 3].

    Raises:
        ZooError: damaged, truncated, of another format, absurdly large or tiny.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as opened:
                if opened.mode.startswith("I"):
                    deep = np.asarray(opened, np.float64) / 257.0
                    pixels = np.repeat(deep.round().clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
                else:
                    pixels = np.array(opened.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ZooError(f"{path}: is no image that can be read ({error})") from None
    if min(pixels.shape[:2]) < MIN_SIDE:
        raise ZooError(f"{path}: has {pixels.shape[1]} x {pixels.shape[0]} pixels, expected {MIN_SIDE} or more")
    return pixels


def open_sequence(path: str) -> Sequence:
    """Find the frames and the ground truth that a path names: a folder, or a video file.

    Raises:
        ZooError: nothing there that can be tracked.
    """
    name = os.path.basename(os.path.abspath(path).rstrip(os.sep))
    if os.path.isfile(path):
        if not path.lower().endswith(VIDEO_SUFFIXES):
            raise ZooError(f"{path}: expected a folder of frames, or a video ({', '.join(VIDEO_SUFFIXES)})")
        return Sequence(os.path.splitext(name)[0], [], path, None)
    if not os.path.isdir(path):
        raise ZooError(f"{path}: no such folder or file")
    inner = os.path.join(path, "img")
    paths = _with_gaps(sorted(images.list_images(inner if os.path.isdir(inner) else path), key=_natural_order))
    truth = next((os.path.join(path, file) for file in GROUND_TRUTH_NAMES if os.path.isfile(os.path.join(path, file))),
                 None)
    return Sequence(name, paths, None, read_boxes(truth) if truth else None)


def _natural_order(path: str) -> tuple:
    """Sort key that counts: frame 2 before frame 10, however many digits they are written with."""
    stem, suffix = os.path.splitext(os.path.basename(path))
    parts = _DIGITS.split(stem)  # every second one is a number
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], stem, suffix


def _with_gaps(paths: list) -> list:
    """Put None where a number is missing, if the names count: one prefix and a number behind it.

    Raises:
        ZooError: two frames of one number.
    """
    counted = [_COUNTED.fullmatch(os.path.splitext(os.path.basename(path))[0]) for path in paths]
    if not all(counted) or len({match.group(1) for match in counted}) > 1:
        return paths
    by_number: dict = {}
    for path, match in zip(paths, counted):
        other = by_number.setdefault(int(match.group(2)), path)
        if other != path:
            raise ZooError(f"{path}: has the same number as {os.path.basename(other)}; expected one frame a number")
    first, last = min(by_number), max(by_number)
    if last - first >= 10 * len(paths) + 100:  # no counting, such as time stamps
        return paths
    return [by_number.get(number) for number in range(first, last + 1)]


def read_boxes(path: str) -> np.ndarray:
    """Read boxes, one x, y, width, height a line, separated by commas, blanks or tabs.

    Returns:
        float64 [frames, 4]. A line of NaN, or a box without extent, says that the target is not to be seen.

    Raises:
        ZooError: another format, or no line.
    """
    boxes = []
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip() and not line.startswith("#"):
                    values = [float(value) for value in _BOX_SEPARATORS.split(line.strip(" \t\r\n,;"))]
                    if len(values) == 8:  # a polygon of VOT: its upright bounding box
                        x, y = values[0::2], values[1::2]
                        values = [min(x), min(y), max(x) - min(x), max(y) - min(y)]
                    if len(values) != 4:
                        raise ZooError(f"{path}: line {number} has {len(values)} numbers, expected x, y, width, height")
                    boxes.append(values)
    except ValueError as error:
        raise ZooError(f"{path}: line {number} is no box ({error})") from None
    if not boxes:
        raise ZooError(f"{path}: holds no box")
    return np.array(boxes, np.float64)


def frames_of(sequence: Sequence, read: Callable[[str], np.ndarray] = read_frame) -> Iterator[Frame]:
    """Give the frames in order, decoded ahead; one that is missing or damaged comes without pixels.

    Raises:
        ZooError: the video cannot be opened.
    """
    if sequence.video:
        yield from _frames_of_video(sequence.video)
        return

    def load(path: str | None) -> Frame:
        if path is None:
            return Frame(None, "is missing")
        try:
            return Frame(read(path), "")
        except ZooError as error:
            return Frame(None, str(error))

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(load, path) for path in sequence.paths[:_READ_AHEAD]]
        for number in range(len(sequence.paths)):
            frame = waiting.pop(0).result()
            if number + _READ_AHEAD < len(sequence.paths):
                waiting.append(pool.submit(load, sequence.paths[number + _READ_AHEAD]))
            yield frame


def _frames_of_video(path: str) -> Iterator[Frame]:
    cv2 = opencv.load()

    capture = cv2.VideoCapture(path)
    try:
        count = 0
        while True:
            there, pixels = capture.read()
            if not there:
                break
            count += 1
            yield Frame(np.ascontiguousarray(pixels[..., ::-1]), "")
    finally:
        capture.release()
    if not count:
        raise ZooError(f"{path}: is no video that can be read")
