"""Frames of a sequence: an OTB folder, a folder of images or a video, read ahead of the tracker. No TensorFlow."""
from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import itertools
import os
import re
from typing import Any, Callable, Iterable, Iterator, NamedTuple

import numpy as np
from PIL import Image

from common.data import images
from common.errors import ZooError
from sa_siam_tf1 import opencv
from sa_siam_tf1.inference import ground_truth

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg")
MIN_SIDE = 8
_READ_AHEAD = 8
_DIGITS = re.compile("([0-9]+)")
_COUNTED = re.compile("(.*?)([0-9]+)")  # prefix and number


class Sequence(NamedTuple):
    """A sequence of frames."""

    name: str
    paths: list  # of the frames in order, None for a number that is missing; empty for a video
    first_number: int  # of the first frame: from its name, if the names count, else 1
    is_counted: bool  # whether the names count
    video: str | None
    truth_paths: dict  # files of true boxes by the target's number

    @property
    def source(self) -> str:
        """Path of the video, or of the folder of the frames."""
        return os.path.realpath(self.video or os.path.dirname(next(path for path in self.paths if path)))

    def part(self, start: int, stop: int | None = None) -> Sequence:
        """The frames from an index up to another."""
        return self._replace(paths=self.paths[start:stop], first_number=self.first_number + start)


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
        with Image.open(path, formats=images.FORMATS) as opened:
            images.require_size(opened)
            if opened.mode.startswith("I"):
                deep = np.asarray(opened, np.float64) / 257.0
                pixels = np.repeat(deep.round().clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
            else:
                pixels = np.array(opened.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ZooError(f"{path}: is no image that can be read ({error})") from None
    if min(pixels.shape[:2]) < MIN_SIDE:
        raise ZooError(f"{path}: has {pixels.shape[1]} x {pixels.shape[0]} pixels, expected {MIN_SIDE} or more")
    return pixels


def open_sequence(path: str) -> Sequence:
    """Find the frames and the ground truth that a path names: a folder, or a video file.

    Raises:
        ZooError: nothing there that can be tracked.
    """
    path = os.path.abspath(path)
    name = os.path.basename(path)
    if name == "img":  # of OTB's layout
        name = os.path.basename(os.path.dirname(path)) or name
    if os.path.isfile(path):
        if not path.lower().endswith(VIDEO_SUFFIXES):
            raise ZooError(f"{path}: expected a folder of frames, or a video ({', '.join(VIDEO_SUFFIXES)})")
        return Sequence(os.path.splitext(name)[0], [], 1, False, path, {})
    if not os.path.isdir(path):
        raise ZooError(f"{path}: no such folder or file")
    inner = os.path.join(path, "img")
    files = sorted(images.list_images(inner if os.path.isdir(inner) else path), key=_natural_order)
    return Sequence(name, *number_gaps(files), None, ground_truth.files_in(path))


def _natural_order(path: str) -> tuple:
    """Sort key that counts: frame 2 before frame 10, however many digits they are written with."""
    stem, suffix = os.path.splitext(os.path.basename(path))
    parts = _DIGITS.split(stem)  # every second one is a number
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], stem, suffix


def number_gaps(paths: list) -> tuple[list, int, bool]:
    """Put None where a number is missing, if the names count: one prefix and a number behind it.

    Returns:
        Paths, the number of the first, 1 if the names do not count, and whether they do.

    Raises:
        ZooError: two frames of one number.
    """
    counted = [_COUNTED.fullmatch(os.path.splitext(os.path.basename(path))[0]) for path in paths]
    by_number: dict = {}
    for path, match in zip(paths, counted):
        if match is None or match.group(1) != counted[0].group(1):
            return paths, 1, False
        by_number.setdefault(int(match.group(2)), []).append(path)
    first, last = min(by_number), max(by_number)
    if last - first >= 10 * len(paths) + 100:  # no counting, such as time stamps
        return paths, 1, False
    for number, same in by_number.items():
        if len(same) > 1:
            raise ZooError(f"{same[0]} and {os.path.basename(same[1])}: are both frame {number}; expected one of them")
    return [by_number.get(number, [None])[0] for number in range(first, last + 1)], first, True


def frames_of(sequence: Sequence, warn: Callable[[str], None]) -> Iterator[Frame]:
    """Give the frames in order, decoded ahead; one that is missing or damaged comes without pixels.

    Args:
        sequence: the frames.
        warn: takes a line about a video that ends early.

    Raises:
        ZooError: the video cannot be read.
    """
    if sequence.video:
        return _frames_of_video(sequence.video, warn)
    return _ahead(_load, sequence.paths)


def _load(path: str | None) -> Frame:
    if path is None:
        return Frame(None, "is missing")
    try:
        return Frame(read_frame(path), "")
    except ZooError as error:
        return Frame(None, str(error))


def _frames_of_video(path: str, warn: Callable[[str], None]) -> Iterator[Frame]:
    cv2 = opencv.load()

    capture = cv2.VideoCapture(path)
    try:
        promised, count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0
        with contextlib.closing(_ahead(lambda number: capture.read(), itertools.count())) as decoded:
            for there, pixels in decoded:
                if not there:
                    break
                count += 1
                yield Frame(np.ascontiguousarray(pixels[..., ::-1]), "")
    finally:
        capture.release()
    if not count:
        raise ZooError(f"{path}: is no video that can be read")
    if count < promised:  # 0 or less where the format does not say
        warn(f"Warning: {path}: says that it has {promised} frames, {count} can be read; is it cut off?")


def _ahead(load: Callable[[Any], Any], arguments: Iterable) -> Iterator:
    """Like map, in a thread that is at most _READ_AHEAD results ahead; it ends with the iterator."""
    left = iter(arguments)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = collections.deque(pool.submit(load, one) for one in itertools.islice(left, _READ_AHEAD))
        try:
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(load, one) for one in itertools.islice(left, 1))
                yield result
        finally:
            for one in waiting:
                one.cancel()
