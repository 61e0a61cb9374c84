"""What evaluate.py leaves for predict.py: thresholds of the distance of two faces, and the distances of the pairs."""
from __future__ import annotations

import csv
import io
import json
import os
from typing import NamedTuple, Sequence

import numpy as np

from circleloss_tf1 import lfw
from circleloss_tf1.lfw import Pairs
from common.checkpoints.trained import Checkpoint
from common.cli.parser import FlagValues
from common.errors import ZooError
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


class Measured(NamedTuple):
    """What evaluate.py has measured of a checkpoint, or --threshold alone."""

    result_path: str  # of evaluate.py
    threshold: float | None  # None without an evaluation and a flag
    threshold_by: str | None  # "accuracy", "far" or "given"
    thresholds: Thresholds | None = None
    metric: int = lfw.SQUARED_EUCLIDEAN
    batch_size: int | None = None  # of the evaluation
    images: Sequence[str] = ()  # of LFW, in the order of the pairs

    @classmethod
    def read(cls, checkpoint: Checkpoint, flags: FlagValues) -> Measured:
        """Read it, if it is there; --far and --threshold win. Raises ZooError if it cannot be read."""
        folder = os.path.join(os.path.dirname(checkpoint.output_folder), "evaluate")
        path = os.path.join(folder, RESULT_FILE)
        if not os.path.isfile(path):
            return cls(path, flags.threshold, None if flags.threshold is None else "given")
        try:
            with open(path, encoding="utf-8") as file:
                result = json.load(file)
            images, is_same, distances = from_csv(os.path.join(folder, DISTANCES_FILE))
            metric, batch_size = int(result["metric"]), int(result["batch_size"])
            thresholds = Thresholds(**result["thresholds"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ZooError(f"{folder}: holds no evaluation that can be read ({error}); run evaluate.py again"
                           ) from None
        threshold, by = thresholds.chosen, thresholds.chosen_by
        if flags.far is not None:
            thresholds = measure(distances, is_same, flags.far)
            threshold, by = thresholds.at_far, "far"
        if flags.threshold is not None:
            threshold, by = flags.threshold, "given"
        return cls(path, threshold, by, thresholds, metric, batch_size, images)
