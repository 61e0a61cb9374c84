"""One-pass evaluation: success and precision of tracked boxes (Wu et al., CVPR 2013). No TensorFlow.

Boxes are float [frames, 4]: x, y, width, height. A true box without extent, or NaN, says that the target is not to be
seen; such frames do not count.
"""
from __future__ import annotations

from typing import NamedTuple, Sequence

import numpy as np

OVERLAP_THRESHOLDS = np.linspace(0.0, 1.0, 21)
DISTANCE_THRESHOLDS = np.arange(51)  # pixels
PRECISION_PIXELS = 20


class Scores(NamedTuple):
    """How well a sequence was tracked."""

    frames: int  # that count
    success: list  # share of frames with an overlap above each threshold
    precision: list  # share of frames with a distance of at most each threshold
    auc: float  # mean of `success`
    precision_20: float  # `precision` at 20 pixels
    mean_overlap: float


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes, pair by pair; float64 [frames]."""
    top_left = np.maximum(boxes[:, :2], others[:, :2])
    bottom_right = np.minimum(boxes[:, :2] + boxes[:, 2:], others[:, :2] + others[:, 2:])
    intersection = np.clip(bottom_right - top_left, 0.0, None).prod(axis=1)
    union = boxes[:, 2:].prod(axis=1) + others[:, 2:].prod(axis=1) - intersection
    return intersection / np.maximum(union, 1e-12)


def center_distances(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Distances of the centres in pixels, pair by pair; float64 [frames]."""
    centers, other_centers = (one[:, :2] + (one[:, 2:] - 1.0) / 2.0 for one in (boxes, others))
    return np.sqrt(np.square(centers - other_centers).sum(axis=1))


def scores(boxes: np.ndarray, truth: np.ndarray) -> Scores:
    """Score a sequence.

    Args:
        boxes: tracked.
        truth: true boxes; what is longer is cut.
    """
    count = min(len(boxes), len(truth))
    boxes, truth = boxes[:count], truth[:count]
    with np.errstate(invalid="ignore"):
        visible = np.isfinite(truth).all(axis=1) & (truth[:, 2:] > 0).all(axis=1)
    found, distances = overlaps(boxes[visible], truth[visible]), center_distances(boxes[visible], truth[visible])
    success = (found[None, :] > OVERLAP_THRESHOLDS[:, None]).mean(axis=1)
    precision = (distances[None, :] <= DISTANCE_THRESHOLDS[:, None]).mean(axis=1)
    return Scores(int(visible.sum()), success.tolist(), precision.tolist(), float(success.mean()),
                  float(precision[PRECISION_PIXELS]), float(found.mean()))


def overall(found: Sequence[Scores]) -> Scores:
    """Mean over sequences, each counting the same."""
    means = [np.mean([getattr(one, name) for one in found], axis=0)
             for name in ("success", "precision", "auc", "precision_20", "mean_overlap")]
    success, precision, auc, precision_20, mean_overlap = (mean.tolist() for mean in means)
    return Scores(sum(one.frames for one in found), success, precision, auc, precision_20, mean_overlap)
