"""Baselines for a tracker: a box that never moves, and the trackers of the installed OpenCV."""
from __future__ import annotations

from typing import Any, Callable, Sequence

import numpy as np

from sa_siam_tf1 import opencv
from sa_siam_tf1.inference.sequences import Step

# trackers of OpenCV that need no files of weights
_OPENCV = ("MIL", "KCF", "CSRT")
STILL = "still box"


def makers() -> dict[str, Callable]:
    """Return a `sequences.MakeTracker` for each baseline by its name."""
    cv2 = opencv.load()

    baselines: dict[str, Callable] = {STILL: _make_still}
    for name in _OPENCV:
        create = _creator(cv2, name)
        if create is not None:
            baselines[f"OpenCV {name}"] = _opencv_maker(create)
    return baselines


def _creator(cv2: Any, name: str) -> Callable | None:
    """Return the function that creates a tracker, from one module or another; None where OpenCV lacks the tracker."""
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
            is_located, new_box = tracker.update(np.ascontiguousarray(pixels[..., ::-1]))
            if is_located:
                last[0] = [float(value) for value in new_box]
            return Step(last[0])

        return step

    return make
