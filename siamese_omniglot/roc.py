"""ROC of similarities: how many pairs are wrongly taken for the same, how many rightly. No TensorFlow.

The equal error rate is that of common/verification.py.
"""
from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Roc(NamedTuple):
    """A ROC, from the strictest threshold to the loosest; each starts at (0, 0)."""

    false_accept: np.ndarray  # float64 [num], share of different pairs at or above the threshold
    true_accept: np.ndarray  # float64 [num], share of same pairs
    thresholds: np.ndarray  # float64 [num]


def roc(similarities: np.ndarray, is_same: np.ndarray) -> Roc:
    """Compute the ROC; pairs of one similarity change sides together.

    Args:
        similarities: float [num], bigger means more alike.
        is_same: bool [num]; both kinds must be there.
    """
    order = np.argsort(-similarities, kind="stable")
    sorted_values, same = np.asarray(similarities, np.float64)[order], np.asarray(is_same)[order]
    last_of_value = np.append(np.diff(sorted_values) != 0, True)
    true_accept = np.cumsum(same)[last_of_value] / same.sum()
    false_accept = np.cumsum(~same)[last_of_value] / (~same).sum()
    return Roc(np.append(0.0, false_accept), np.append(0.0, true_accept),
               np.append(np.inf, sorted_values[last_of_value]))


def area(curve: Roc) -> float:
    """Area under the ROC, by trapezoids: the chance that a same pair is more alike than a different one."""
    widths = np.diff(curve.false_accept)
    return float(np.sum(widths * (curve.true_accept[1:] + curve.true_accept[:-1]) / 2))
