"""Frames of a sequence: an OTB folder, a folder of images or a video, decoded ahead of the tracker."""
from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import functools
import itertools
import os
from typing import Any, Callable, Iterable, Iterator, NamedTuple

import numpy as np

from common.data import images, listing
from common.errors import ZooError
from sa_siam_tf1 import load_opencv

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg")
FRAME_FOLDERS = ("img", "color")  # of OTB and LaSOT, and of VOT
_AHEAD = 8


class Sequence(NamedTuple):
    """A sequence of frames."""

    name: str
    paths: list  # of the frames in order, None for a number that is missing; empty for a video
    first_number: int  # of the first frame: from its name if the frames are numbered, else 1
    is_numbered: bool  # whether the frames' names hold their numbers
    video: str | None
    background: str = "white"  # of transparent pixels
    limit: int | None = None  # frames after which it ends
    camera: Any = None  # a `live.Camera`

    @property
    def num_frames(self) -> int | None:
        """Number of frames, None if it is unknown."""
        return min(len(self.paths), self.limit or len(self.paths)) if self.paths else self.limit

    @property
    def source(self) -> str:
        """Name of the camera, path of the video, or of the folder of the frames."""
        if self.camera:
            return self.name
        return os.path.realpath(self.video or os.path.dirname(next(path for path in self.paths if path)))

    def part(self, start: int, stop: int | None = None) -> Sequence:
        """Return the frames from one index up to another."""
        return self._replace(paths=self.paths[start:stop], first_number=self.first_number + start)


class Frame(NamedTuple):
    """A frame, or why there is none."""

    pixels: np.ndarray | None  # uint8 [height, width, 3], RGB
    problem: str


def folder_of(path: str) -> str:
    """Return the folder of a sequence, for the sequence S or for its frames, S/img."""
    path = os.path.abspath(path)
    return os.path.dirname(path) if os.path.basename(path) in FRAME_FOLDERS else path


def open_sequence(path: str) -> Sequence:
    """Find the frames that a path names: a folder, or a video file.

    Raises:
        ZooError: nothing that can be tracked.
    """
    path = os.path.abspath(path)
    name = os.path.basename(folder_of(path)) or os.path.basename(path)
    if os.path.isfile(path):
        if not path.lower().endswith(VIDEO_SUFFIXES):
            raise ZooError(f"{path}: expected a folder of frames, or a video ({', '.join(VIDEO_SUFFIXES)})")
        return Sequence(os.path.splitext(name)[0], [], 1, False, path)
    if not os.path.isdir(path):
        raise ZooError(f"{path}: no such folder or file")
    inner = (os.path.join(path, folder) for folder in FRAME_FOLDERS)
    files = images.list_images(next(filter(os.path.isdir, inner), path))
    return Sequence(name, *number_gaps(files), None)


def number_gaps(paths: list) -> tuple[list, int, bool]:
    """Put None where a number is missing, if the frames are numbered: one prefix with a number behind it.

    Returns:
        Paths, the number of the first, 1 if the frames are not numbered, and whether they are.

    Raises:
        ZooError: two frames of one number.
    """
    numbers = listing.frame_numbers(paths)
    if numbers is None:
        return paths, 1, False
    by_number: dict = {}
    for path, number in zip(paths, numbers):
        by_number.setdefault(number, []).append(path)
    first, last = min(by_number), max(by_number)
    if last - first >= 10 * len(paths) + 100:  # time stamps, for example
        return paths, 1, False
    for number, same in by_number.items():
        if len(same) > 1:
            raise ZooError(f"{same[0]} and {os.path.basename(same[1])}: are both frame {number}; expected one of them")
    return [by_number.get(number, [None])[0] for number in range(first, last + 1)], first, True


def frames_of(sequence: Sequence, warn: Callable[[str], None]) -> Iterator[Frame]:
    """Yield the frames in order, decoded ahead; one that is missing or damaged comes without pixels.

    `warn` takes a line about a video that ends early.

    Raises:
        ZooError: the video cannot be read.
    """
    if sequence.camera:
        found = sequence.camera.frames()
    elif sequence.video:
        found = _frames_of_video(sequence.video, warn)
    else:
        found = _map_ahead(functools.partial(_load, background=sequence.background), sequence.paths)
    return found if sequence.limit is None else _limited(found, sequence.limit)


def _limited(found: Iterator[Frame], limit: int) -> Iterator[Frame]:
    with contextlib.closing(found):  # type: ignore[type-var]
        yield from itertools.islice(found, limit)


def _load(path: str | None, background: str) -> Frame:
    if path is None:
        return Frame(None, "is missing")
    try:
        return Frame(images.read_rgb(path, background=background), "")
    except ZooError as error:
        return Frame(None, str(error))


def _frames_of_video(path: str, warn: Callable[[str], None]) -> Iterator[Frame]:
    cv2 = load_opencv()
    capture = cv2.VideoCapture(path)
    try:
        announced, count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0
        with contextlib.closing(_map_ahead(lambda index: capture.read(), itertools.count())) as decoded:
            for is_decoded, pixels in decoded:
                if not is_decoded:
                    break
                count += 1
                yield Frame(np.ascontiguousarray(pixels[..., ::-1]), "")
    finally:
        capture.release()
    if not count:
        raise ZooError(f"{path}: is not a readable video")
    if count < announced:  # 0 or less where the format does not tell
        warn(f"Warning: {path}: announces {announced} frames, {count} can be read; is it cut off?")


def _map_ahead(load: Callable[[Any], Any], arguments: Iterable) -> Iterator:
    """Like map, in a thread that is at most _AHEAD results ahead; the thread ends with the iterator."""
    remaining = iter(arguments)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pending = collections.deque(pool.submit(load, one) for one in itertools.islice(remaining, _AHEAD))
        try:
            while pending:
                result = pending.popleft().result()
                pending.extend(pool.submit(load, one) for one in itertools.islice(remaining, 1))
                yield result
        finally:
            for future in pending:
                future.cancel()
