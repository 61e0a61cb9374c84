"""ROC of pairs: the fractions of same and of different pairs whose distance is strictly below a threshold."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np


class SortedPairs(NamedTuple):
    """Sorted distances of same and of different pairs, from which pairs below any thresholds are counted quickly."""

    same: np.ndarray
    different: np.ndarray

    @classmethod
    def of(cls, distances: np.ndarray, is_same: np.ndarray) -> SortedPairs:
        return cls(np.sort(distances[is_same]), np.sort(distances[~is_same]))

    def accepted(self, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Count the same and the different pairs below each threshold."""
        return np.searchsorted(self.same, thresholds), np.searchsorted(self.different, thresholds)

    def rates(self, thresholds: np.ndarray) -> np.ndarray:
        """Return true and false accept rates, float64 [2, thresholds]; 0 without such pairs."""
        same, different = self.accepted(thresholds)
        return np.stack([same / max(len(self.same), 1), different / max(len(self.different), 1)])

    def accuracy(self, thresholds: np.ndarray) -> np.ndarray:
        """Return the fraction of pairs that each threshold classifies correctly."""
        same, different = self.accepted(thresholds)
        return (same + len(self.different) - different) / (len(self.same) + len(self.different))


class Roc(NamedTuple):
    """All corners of a ROC, from (0, 0) to (1, 1)."""

    true_accept: np.ndarray  # float64 [num], fraction of same pairs below the threshold
    false_accept: np.ndarray  # float64 [num], fraction of different pairs


def roc(distances: np.ndarray, is_same: np.ndarray) -> Roc:
    """Compute the ROC of float [pairs], smaller for similar ones; `is_same` is bool [pairs], of both kinds."""
    return Roc(*SortedPairs.of(distances, is_same).rates(np.append(np.unique(distances), np.inf)))


def area(curve: Roc) -> float:
    """Return the area under the ROC, the probability that a same pair is closer than a different one."""
    widths = np.diff(curve.false_accept)
    return float(np.sum(widths * (curve.true_accept[1:] + curve.true_accept[:-1]) / 2))


def equal_error_rate(curve: Roc) -> float:
    """Return the rate at which false accepts equal false rejects, interpolated linearly between two corners."""
    gap = curve.false_accept - (1.0 - curve.true_accept)  # rises with the threshold, from -1 to 1
    after = int(np.argmax(gap >= 0.0))
    before = max(after - 1, 0)
    weight = 0.0 if gap[after] == gap[before] else gap[after] / (gap[after] - gap[before])
    return float(weight * curve.false_accept[before] + (1.0 - weight) * curve.false_accept[after])
