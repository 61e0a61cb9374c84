"""The original's two validation errors: how far responses of centred pairs are from pointing to the middle."""
from __future__ import annotations

import numpy as np

from sa_siam_tf1.configuration import STRIDE

RADIUS_PIXELS = 50.0
NUM_THRESHOLDS = 100
_EDGE = 1e-7


def center_score_error(responses: np.ndarray) -> float:
    """Return the share of responses that are negative in the middle.

    Args:
        responses: float [num, cells, cells].
    """
    middle = (responses.shape[1] - 1) // 2
    return float((responses[:, middle, middle] < 0).mean())


def center_dist_error(responses: np.ndarray) -> float:
    """Return 1 minus the area under the curve of recall over thresholds of closeness.

    Closeness is 1 - min(d / (50 / 8), 1) for the distance d in cells from the highest response to the middle; recall is
    the share of responses that are closer than a threshold, and the area is taken by the trapezoid rule.

    Args:
        responses: float [num, cells, cells].
    """
    num, cells = responses.shape[:2]
    middle = (cells - 1) // 2
    row, column = np.unravel_index(responses.reshape(num, -1).argmax(axis=1), (cells, cells))
    distance = np.hypot(row - middle, column - middle)
    closeness = 1.0 - np.minimum(distance / (RADIUS_PIXELS / STRIDE), 1.0)
    thresholds = np.linspace(0.0, 1.0, NUM_THRESHOLDS)
    thresholds[0], thresholds[-1] = -_EDGE, 1.0 + _EDGE  # so that the first counts all and the last none
    recall = (closeness[None, :] > thresholds[:, None]).mean(axis=1)
    return float(1.0 - np.sum((recall[1:] + recall[:-1]) / 2.0 * np.diff(thresholds)))
