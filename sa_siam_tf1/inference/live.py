"""A camera, and a window of OpenCV to choose a target with the mouse and to watch it."""
from __future__ import annotations

import os
import subprocess
import sys
from typing import Any, Callable, Iterator

import numpy as np

from common import quiet
from common.errors import ZooError
from sa_siam_tf1 import opencv
from sa_siam_tf1.inference.drawing import write_caption
from sa_siam_tf1.inference.frames import Frame

_NAME = "SA-Siam"
_CHOOSE, _QUIT = (ord(" "), 10, 13), (ord("q"), 27)  # space and enter; q and escape


class NoWindow(ZooError):
    """There is no window; the message says why."""


class Camera:
    """Frames of a camera as they come, until `end` or the end of the program is asked for."""

    def __init__(self, number: int, is_over: Callable[[], bool]):
        """Open a camera.

        Args:
            number: of the camera, from 0.
            is_over: whether the program is to end.

        Raises:
            ZooError: it cannot be opened, or gives no frame.
        """
        with open(os.devnull, "wb") as nowhere, quiet.stderr_to(nowhere):  # OpenCV prints what it tried
            self._capture = opencv.load().VideoCapture(number)
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
        """Open it.

        Raises:
            NoWindow: there is no screen, or OpenCV has no windows.
        """
        self._cv2: Any = opencv.load()
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise NoWindow("there is no screen (DISPLAY is not set)")
        status = _try_window()
        if status > 0:
            raise NoWindow("this OpenCV has no windows; install opencv-python instead of opencv-python-headless")
        if status < 0:
            raise NoWindow(f"OpenCV cannot use the screen (DISPLAY={os.environ.get('DISPLAY', '')})")
        self._cv2.namedWindow(_NAME, self._cv2.WINDOW_NORMAL)

    def show(self, pixels: np.ndarray) -> int:
        """Show a frame, uint8 [height, width, 3], RGB; return the key that was pressed, or -1."""
        self._cv2.imshow(_NAME, np.ascontiguousarray(pixels[..., ::-1]))
        key = self._cv2.waitKey(1)
        return key if key < 0 else key & 0xFF

    def is_closed_by(self, key: int) -> bool:
        """Whether a key, or the button of the window, asks for the end."""
        return key in _QUIT or self._cv2.getWindowProperty(_NAME, self._cv2.WND_PROP_VISIBLE) < 1

    def choose(self, pixels: np.ndarray, camera: Camera | None = None) -> np.ndarray:
        """Let the user draw the box of the target with the mouse.

        Args:
            pixels: the first frame.
            camera: shows what it sees until the user presses a key; then this is the first frame.

        Returns:
            x, y, width, height, counted from 1.

        Raises:
            ZooError: none was drawn.
        """
        while camera is not None:
            key = self.show(write_caption(camera.pixels.copy(), "space: choose the target, q: quit"))
            if key in _CHOOSE:
                pixels = camera.pixels
                break
            if self.is_closed_by(key) or not camera.advance():
                raise ZooError("no target was chosen; draw a box around it, or give --box=x,y,width,height")
        x, y, width, height = self._cv2.selectROI(_NAME, np.ascontiguousarray(pixels[..., ::-1]), True, False)
        if width < 1 or height < 1:
            raise ZooError("no target was chosen; draw a box around it, or give --box=x,y,width,height")
        return np.array([x + 1.0, y + 1.0, width, height])
