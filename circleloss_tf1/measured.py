"""What evaluate.py has measured of a checkpoint, for predict.py: thresholds and the images around a pair."""
from __future__ import annotations

import json
import os
from typing import NamedTuple

from circleloss_tf1 import lfw
from common.checkpoints.trained import Checkpoint
from common.cli.parser import FlagValues
from common.errors import ZooError
from common.evaluation import verification


class Measured(NamedTuple):
    """What evaluate.py has measured, or --threshold alone."""

    result_path: str  # of evaluate.py
    threshold: float | None  # None without an evaluation and a flag
    threshold_by: str | None  # "accuracy", "far" or "given"
    thresholds: verification.Thresholds | None
    metric: int
    batch_size: int | None  # of the evaluation
    images: list  # str, the images of LFW in the order of the pairs

    @classmethod
    def read(cls, checkpoint: Checkpoint, flags: FlagValues) -> Measured:
        """Read it, if it is there; --far and --threshold win.

        Raises:
            ZooError: it cannot be read.
        """
        folder = os.path.join(os.path.dirname(checkpoint.output_folder), "evaluate")
        path = os.path.join(folder, "evaluation.json")
        if not os.path.isfile(path):
            return cls(path, flags.threshold, None if flags.threshold is None else "given", None,
                       verification.SQUARED_EUCLIDEAN, None, [])
        try:
            with open(path, encoding="utf-8") as file:
                result = json.load(file)
            images, is_same, distances = lfw.from_csv(os.path.join(folder, lfw.DISTANCES_FILE))
            metric, batch_size = int(result["metric"]), int(result["batch_size"])
            stored = verification.Thresholds(**result["thresholds"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ZooError(f"{folder}: holds no evaluation that can be read ({error}); run evaluate.py again"
                           ) from None
        thresholds = verification.measure_thresholds(distances, is_same, stored.far if flags.far is None else flags.far)
        if flags.threshold is not None:
            return cls(path, flags.threshold, "given", thresholds, metric, batch_size, images)
        if flags.far is not None:
            return cls(path, thresholds.at_far, "far", thresholds, metric, batch_size, images)
        return cls(path, stored.chosen, stored.chosen_by, stored, metric, batch_size, images)
