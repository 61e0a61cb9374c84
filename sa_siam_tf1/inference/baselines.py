"""What a tracker is measured against: a box that never moves, and the trackers that the installed OpenCV has."""
from __future__ import annotations

from typing import Any, Callable, Sequence

import numpy as np

from sa_siam_tf1 import opencv
from sa_siam_tf1.inference.sequences import Step

# of OpenCV, those that need no files of weights
_OPENCV = ("MIL", "KCF", "CSRT")
STILL = "still box"


def makers() -> dict[str, Callable]:
    """Return what `sequences.track_sequence` makes trackers with, by name; no TensorFlow."""
    cv2 = opencv.load()

    found: dict[str, Callable] = {STILL: _make_still}
    for name in _OPENCV:
        create = _creator(cv2, name)
        if create is not None:
            found[f"OpenCV {name}"] = _opencv_maker(create)
    return found


def _creator(cv2: Any, name: str) -> Callable | None:
    """OpenCV's builds have a tracker in one place or another, or not at all."""
    for module in (cv2, getattr(cv2, "legacy", None)):
        create = getattr(module, f"Tracker{name}_create", None)
        if create is not None:
            return create
    return None


def _make_still(frame: np.ndarray, box: Sequence[float]) -> Callable:
    del frame
    return lambda pixels: Step(list(box))


def _opencv_maker(create: Callable) -> Callable:
    def make(frame: np.ndarray, box: Sequence[float]) -> Callable:
        cv2 = opencv.load()

        cv2.setRNGSeed(0)
        tracker = create()
        tracker.init(np.ascontiguousarray(frame[..., ::-1]), tuple(int(round(value)) for value in box))
        last = [list(box)]

        def step(pixels: np.ndarray) -> Step:
            there, found = tracker.update(np.ascontiguousarray(pixels[..., ::-1]))
            if there:
                last[0] = [float(value) for value in found]
            return Step(last[0])

        return step

    return make
