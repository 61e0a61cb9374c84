"""A camera, and a window of OpenCV to choose a target with the mouse and to watch it."""
from __future__ import annotations

import os
import subprocess
import sys
from typing import Any, Callable, Iterator

import numpy as np

from common import console
from common.errors import ZooError
from sa_siam_tf1 import load_opencv
from sa_siam_tf1.inference.drawing import overlay, write_caption
from sa_siam_tf1.inference.frames import Frame

_NAME = "SA-Siam"
_MAX_SIDE = 1000  # pixels of a window before the user changes its size
_WAIT_MS = 20  # for a key
_NOTHING_CHOSEN = "no target was chosen; draw a box around it, or give --box=x,y,width,height"
_CHOOSE, _QUIT = (ord(" "), 10, 13), (ord("q"), 27)  # space and enter; q and escape


class NoWindow(ZooError):
    """There is no window; the message says why."""


class Camera:
    """Frames of a camera as they come, until `end` or the end of the program is asked for."""

    def __init__(self, number: int, is_over: Callable[[], bool]):
        """Open a camera by its number, from 0; `is_over` says whether the program is to end.

        Raises:
            ZooError: it cannot be opened, or gives no frame.
        """
        with open(os.devnull, "wb") as nowhere, console.stderr_to(nowhere):  # OpenCV prints what it tried
            self._capture = load_opencv().VideoCapture(number)
        self._is_over, self._is_ended = is_over, False
        pixels = self._read()
        if pixels is None:
            self._capture.release()
            raise ZooError(f"--source={number}: camera {number} cannot be read; is it connected, and may you use it? "
                           "On Linux it is /dev/video" + str(number))
        self.pixels: np.ndarray = pixels

    def _read(self) -> np.ndarray | None:
        is_read, pixels = self._capture.read()
        return np.ascontiguousarray(pixels[..., ::-1]) if is_read else None

    def advance(self) -> bool:
        """Read the next frame into `pixels`, uint8 [height, width, 3]; return whether there is one."""
        pixels = None if self._is_ended or self._is_over() else self._read()
        if pixels is None:
            return False
        self.pixels = pixels
        return True

    def end(self) -> None:
        """Let the current frame be the last one."""
        self._is_ended = True

    def frames(self) -> Iterator[Frame]:
        """Yield the current frame and those that follow, and close the camera."""
        try:
            yield Frame(self.pixels, "")
            while self.advance():
                yield Frame(self.pixels, "")
        finally:
            self._capture.release()


def _try_window() -> int:
    """Open a window in another process, since OpenCV aborts one that it cannot show; return the exit status."""
    return subprocess.run([sys.executable, "-c", "import cv2; cv2.namedWindow('try')"], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, check=False).returncode


class Window:
    """A window on the screen."""

    def __init__(self) -> None:
        """Open it; without a screen, or if OpenCV has no windows, raise NoWindow."""
        self._cv2: Any = load_opencv()
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise NoWindow("there is no screen (DISPLAY is not set)")
        status = _try_window()
        if status > 0:
            raise NoWindow("this OpenCV has no windows; install opencv-python instead of opencv-python-headless")
        if status < 0:
            raise NoWindow(f"OpenCV cannot use the screen (DISPLAY={os.environ.get('DISPLAY', '')})")
        self._cv2.namedWindow(_NAME, self._cv2.WINDOW_NORMAL | self._cv2.WINDOW_GUI_NORMAL)
        self._is_sized = False

    def show(self, pixels: np.ndarray, caption: str = "", wait_ms: int = 1) -> int:
        """Show a frame, uint8 [height, width, 3], RGB, with a caption; return the key that was pressed, or -1."""
        if not self._is_sized:
            height, width = pixels.shape[:2]
            scale = min(1.0, _MAX_SIDE / max(height, width))
            self._cv2.resizeWindow(_NAME, int(scale * width), int(scale * height))
            self._is_sized = True
        shown = write_caption(pixels.copy(), caption)
        self._cv2.imshow(_NAME, np.ascontiguousarray(shown[..., ::-1]))
        key = self._cv2.waitKey(wait_ms)
        return key if key < 0 else key & 0xFF

    def close(self) -> None:
        """Remove the window."""
        self._cv2.destroyWindow(_NAME)
        self._cv2.waitKey(1)

    def is_closed_by(self, key: int) -> bool:
        """Whether a key, or the button of the window, asks for the end."""
        return key in _QUIT or self._cv2.getWindowProperty(_NAME, self._cv2.WND_PROP_VISIBLE) < 1

    def choose(self, pixels: np.ndarray, camera: Camera | None = None) -> np.ndarray:
        """Let the user draw the target in the first frame with the mouse; return x, y, width, height, counted from 1.

        A camera shows what it sees until the user presses a key; then this is the first frame.

        Raises:
            ZooError: none was drawn.
        """
        while camera is not None:
            key = self.show(camera.pixels, "space: choose the target, q: quit")
            if key in _CHOOSE:
                pixels = camera.pixels
                break
            if self.is_closed_by(key) or not camera.advance():
                raise ZooError(_NOTHING_CHOSEN)
        return self._draw_box(pixels)

    def _draw_box(self, pixels: np.ndarray) -> np.ndarray:
        corners = np.zeros((2, 2), int)  # x, y where the mouse was pressed, and where it was moved from there

        def on_mouse(event: int, x: int, y: int, flags: int, _: Any) -> None:
            if event == self._cv2.EVENT_LBUTTONDOWN:
                corners[:] = x, y
            elif event == self._cv2.EVENT_MOUSEMOVE and flags & self._cv2.EVENT_FLAG_LBUTTON:
                corners[1] = x, y

        self._cv2.setMouseCallback(_NAME, on_mouse)
        while True:
            left_top, size = corners.min(0), np.ptp(corners, 0)
            box = np.array([*left_top + 1.0, *size])
            key = self.show(overlay(pixels, box, None, None), "draw the box, then space; q: quit", _WAIT_MS)
            if key in _CHOOSE and size.all():
                return box
            if self.is_closed_by(key):
                raise ZooError(_NOTHING_CHOSEN)
