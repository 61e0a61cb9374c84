"""ROC of pairs: the shares of same and of different pairs whose distance is below a threshold (strictly)."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np


class SortedPairs(NamedTuple):
    """Sorted distances of same and of different pairs; counts for any number of thresholds come from them."""

    same: np.ndarray
    different: np.ndarray

    @classmethod
    def of(cls, distances: np.ndarray, is_same: np.ndarray) -> SortedPairs:
        return cls(np.sort(distances[is_same]), np.sort(distances[~is_same]))

    def accepted(self, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Count the same and the different pairs below each threshold."""
        return np.searchsorted(self.same, thresholds), np.searchsorted(self.different, thresholds)

    def rates(self, thresholds: np.ndarray) -> np.ndarray:
        """Return true and false accept rates, float64 [2, thresholds]; 0 where there are no such pairs."""
        same, different = self.accepted(thresholds)
        return np.stack([same / max(len(self.same), 1), different / max(len(self.different), 1)])

    def accuracy(self, thresholds: np.ndarray) -> np.ndarray:
        """Return the share of pairs on their right side of each threshold."""
        same, different = self.accepted(thresholds)
        return (same + len(self.different) - different) / (len(self.same) + len(self.different))


class Roc(NamedTuple):
    """A ROC with all its corners, from (0, 0) to (1, 1)."""

    true_accept: np.ndarray  # float64 [num], share of same pairs below the threshold
    false_accept: np.ndarray  # float64 [num], share of different pairs


def roc(distances: np.ndarray, is_same: np.ndarray) -> Roc:
    """Compute the ROC; pairs of one distance change sides together.

    Args:
        distances: float [pairs], smaller means more alike; a similarity negated will do.
        is_same: bool [pairs]; both kinds must be there.
    """
    return Roc(*SortedPairs.of(distances, is_same).rates(np.append(np.unique(distances), np.inf)))


def area(curve: Roc) -> float:
    """Return the area under the ROC, by trapezoids: the chance that a same pair is closer than a different one."""
    widths = np.diff(curve.false_accept)
    return float(np.sum(widths * (curve.true_accept[1:] + curve.true_accept[:-1]) / 2))


def equal_error_rate(curve: Roc) -> float:
    """Return the rate at which as many different pairs are accepted as same pairs are rejected.

    Between the two corners where the order of the two rates changes it is interpolated linearly.
    """
    gap = curve.false_accept - (1.0 - curve.true_accept)  # rises with the threshold, from -1 to 1
    after = int(np.argmax(gap >= 0.0))
    before = max(after - 1, 0)
    weight = 0.0 if gap[after] == gap[before] else gap[after] / (gap[after] - gap[before])
    return float(weight * curve.false_accept[before] + (1.0 - weight) * curve.false_accept[after])
