"""Frames with boxes and response maps drawn on them, as a video, a GIF or single frames."""
from __future__ import annotations

import collections
import os
from typing import Any, Sequence

import numpy as np
from PIL import Image

from common import console
from common.errors import ZooError
from sa_siam_tf1 import load_opencv

FORMATS = ("mp4", "gif", "frames", "none")
_BOX_COLOUR, _TRUTH_COLOUR = (255, 64, 64), (64, 255, 64)
_FRAMES_A_SECOND = 25
_CODES = ("avc1", "vp09", "mp4v")  # H.264 and VP9, which browsers play; MPEG-4, which they do not
_GIF_LONGER_SIDE = 320
_BICUBIC = 3  # number of PIL's filter, whose name differs between versions


def overlay(pixels: np.ndarray, box: Sequence[float], truth: Sequence[float] | None, location: Any,
            caption: str = "") -> np.ndarray:
    """Draw the target's box in red and the true one in green on a copy of a frame, uint8 [height, width, 3], RGB.

    Boxes are counted from 1. `location` is a Location whose response is drawn over the search window, or None. The
    caption is written into the upper left corner.
    """
    cv2 = load_opencv()
    drawn = pixels.copy()
    if location is not None:
        drawn = _with_response(drawn, location)
    for one, colour in ((truth, _TRUTH_COLOUR), (box, _BOX_COLOUR)):
        if one is not None and np.isfinite(one).all():
            x, y, width, height = (int(round(float(value))) for value in one)
            cv2.rectangle(drawn, (x - 1, y - 1), (x - 1 + width, y - 1 + height), colour, 2)
    return write_caption(drawn, caption)


def write_caption(pixels: np.ndarray, caption: str) -> np.ndarray:
    """Write a text into the upper left corner of a frame, uint8 [height, width, 3], and return the frame."""
    cv2 = load_opencv()
    size = max(0.3, pixels.shape[1] / 1000)
    (width, height), below = cv2.getTextSize(caption, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    if caption:
        cv2.rectangle(pixels, (0, 0), (width + 7, height + below + 5), (0, 0, 0), -1)
        cv2.putText(pixels, caption, (4, height + 4), cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), 1, cv2.LINE_AA)
    return pixels


def _with_response(pixels: np.ndarray, location: Any) -> np.ndarray:
    """Draw the response over the square of the frame that it covers, in the middle of the search window."""
    cv2 = load_opencv()
    height, width = pixels.shape[:2]
    response = location.response - location.response.min()
    response = (255 * response / max(float(response.max()), 1e-12)).astype(np.uint8)
    heat = cv2.applyColorMap(response, cv2.COLORMAP_JET)[..., ::-1]
    side, before = location.response_side, location.before
    scale = side / response.shape[0]
    to_frame = np.array([[scale, 0, before.x - side / 2], [0, scale, before.y - side / 2]])
    warped = cv2.warpAffine(np.ascontiguousarray(heat), to_frame, (width, height))
    is_covered = cv2.warpAffine(np.ones(response.shape, np.uint8), to_frame, (width, height))[..., None] > 0
    return np.where(is_covered, (0.6 * pixels + 0.4 * warped).astype(np.uint8), pixels)


class Drawer:
    """Writes drawn frames; a video and a GIF have the first frame's size, to which later frames are resized."""

    def __init__(self, kind: str, folder: str):
        """Prepare to write annotated.mp4, annotated.gif or frames/NNNN.jpg to a folder."""
        self._kind = kind
        self._writer: Any = None
        self._images: collections.deque = collections.deque()
        self._size, self._code = (0, 0), ""
        self.path = os.path.join(folder, "frames" if kind == "frames" else f"annotated.{kind}")
        os.makedirs(self.path if kind == "frames" else folder, exist_ok=True)

    def add(self, index: int, pixels: np.ndarray) -> None:
        """Add a frame, uint8 [height, width, 3], with its index in the sequence."""
        height, width = pixels.shape[:2]
        if self._kind == "frames":
            Image.fromarray(pixels).save(os.path.join(self.path, f"{index + 1:04d}.jpg"), quality=90)
        elif self._kind == "gif":
            if not self._images:
                share = min(1.0, _GIF_LONGER_SIDE / max(height, width))
                self._size = max(1, round(share * width)), max(1, round(share * height))
            # with 256 colours, since PIL keeps all frames of a GIF in memory until it is written
            self._images.append(Image.fromarray(pixels).resize(self._size, _BICUBIC).quantize())
        else:
            self._add_to_video(pixels)

    def _add_to_video(self, pixels: np.ndarray) -> None:
        cv2 = load_opencv()
        if self._writer is None:
            self._size = pixels.shape[1] // 2 * 2, pixels.shape[0] // 2 * 2
            for self._code in _CODES:
                with open(os.devnull, "wb") as nowhere, console.stderr_to(nowhere):  # OpenCV prints why it has no codec
                    self._writer = cv2.VideoWriter(self.path, cv2.VideoWriter_fourcc(*self._code), _FRAMES_A_SECOND,
                                                   self._size)
                if self._writer.isOpened():
                    break
            else:
                raise ZooError(f"{self.path}: this OpenCV writes no MP4; use --annotate=gif or --annotate=frames")
        self._writer.write(np.ascontiguousarray(cv2.resize(pixels, self._size)[..., ::-1]))

    @property
    def notice(self) -> str:
        """A line about a video that browsers do not play, or an empty one."""
        if self._code != _CODES[-1]:
            return ""
        return (f"Notice: {self.path}: browsers do not play it, this OpenCV has neither H.264 nor VP9; use "
                "--annotate=gif for a browser")

    def close(self) -> str:
        """Finish writing; return the path."""
        if self._writer is not None:
            self._writer.release()
        if self._images:
            first = self._images.popleft()
            rest = (self._images.popleft() for _ in range(len(self._images)))
            first.save(self.path, save_all=True, append_images=rest, duration=1000 // _FRAMES_A_SECOND, loop=0)
        return self.path
