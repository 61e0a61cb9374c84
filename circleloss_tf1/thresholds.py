"""What evaluate.py leaves for predict.py: thresholds of the distance of two faces, and the distances of the pairs."""
from __future__ import annotations

import csv
import io
from typing import NamedTuple

import numpy as np

from circleloss_tf1 import lfw
from circleloss_tf1.lfw import Pairs
from common.evaluation.roc import SortedPairs

RESULT_FILE = "evaluation.json"
DISTANCES_FILE = "pairs.csv"


class Thresholds(NamedTuple):
    """Thresholds that a pair can be judged by, measured on all pairs."""

    best_accuracy: float
    at_far: float  # accepts a fraction `far` of the different pairs
    far: float
    num_different: int  # different pairs

    @property
    def resolves_far(self) -> bool:
        """Whether there are enough different pairs for one of them to be accepted at `far`."""
        return self.far * self.num_different >= 1.0

    @property
    def chosen_by(self) -> str:
        """Which threshold to trust: "far", or "accuracy" where too few pairs resolve it."""
        return "far" if self.resolves_far else "accuracy"

    @property
    def chosen(self) -> float:
        """The threshold to trust."""
        return self.at_far if self.resolves_far else self.best_accuracy

    def line(self) -> str:
        """Return what evaluate.py prints."""
        chosen = f"FAR {self.far:g}" if self.resolves_far else "best accuracy"
        return (f"Thresholds: {self.best_accuracy:.4f} (best accuracy), {self.at_far:.4f} (FAR {self.far:g}); "
                f"predict.py uses that of the {chosen}")

    def warning(self) -> str:
        """Return the warning about a FAR that the pairs cannot resolve."""
        return (f"Warning: {self.num_different} different pairs cannot resolve FAR {self.far:g}, which accepts "
                f"{self.far * self.num_different:.2g} of them; use more pairs or a larger --far")


def measure(distances: np.ndarray, is_same: np.ndarray, far: float = lfw.FAR_TARGET) -> Thresholds:
    """Measure both thresholds on all pairs."""
    pairs = SortedPairs.of(distances, is_same)
    best = int(np.argmax(pairs.accuracy(lfw.THRESHOLDS)))
    return Thresholds(float(lfw.THRESHOLDS[best]), lfw.threshold_at_far(pairs, far), far,
                      int((~is_same).sum()))


def to_csv(pairs: Pairs, distances: np.ndarray) -> str:
    """Return the pairs and their distances as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("first", "second", "same", "distance"))
    writer.writerows(zip(pairs.paths[0::2], pairs.paths[1::2], pairs.is_same.astype(int), map(float, distances)))
    return text.getvalue()


def from_csv(path: str) -> tuple[list, np.ndarray, np.ndarray]:
    """Read a file of `to_csv`: images [2 * pairs], whether pairs are the same, bool [pairs], distances [pairs].

    Raises OSError, KeyError, TypeError or ValueError if it cannot be read or is invalid.
    """
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise ValueError(f"{path} is empty")
    return ([row[side] for row in rows for side in ("first", "second")],
            np.array([int(row["same"]) for row in rows], bool), np.array([float(row["distance"]) for row in rows]))
