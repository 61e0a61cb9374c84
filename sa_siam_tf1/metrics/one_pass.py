"""One-pass evaluation: success and precision of tracked boxes (Wu et al., CVPR 2013).

Boxes are float [frames, 4]: x, y, width, height. A true box without extent, or NaN, means that the target is not
visible; such frames do not count.
"""
from __future__ import annotations

from typing import NamedTuple, Sequence

import numpy as np

OVERLAP_THRESHOLDS = np.linspace(0.0, 1.0, 21)
DISTANCE_THRESHOLDS = np.arange(51)  # pixels
PRECISION_PIXELS = 20


class Scores(NamedTuple):
    """Scores of a tracker on a sequence."""

    frames: int  # that count
    success: list  # share of frames with an overlap above each threshold
    precision: list  # share of frames with a distance of at most each threshold
    auc: float  # mean of `success`
    precision_20: float  # `precision` at 20 pixels
    mean_overlap: float


def has_target(truth: np.ndarray) -> np.ndarray:
    """Tell in which frames the target is visible, bool [frames]."""
    with np.errstate(invalid="ignore"):
        return np.isfinite(truth).all(axis=1) & (truth[:, 2:] > 0).all(axis=1)


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the intersection over union of boxes, pair by pair, float64 [frames]."""
    top_left = np.maximum(boxes[:, :2], others[:, :2])
    bottom_right = np.minimum(boxes[:, :2] + boxes[:, 2:], others[:, :2] + others[:, 2:])
    intersection = np.clip(bottom_right - top_left, 0.0, None).prod(axis=1)
    union = boxes[:, 2:].prod(axis=1) + others[:, 2:].prod(axis=1) - intersection
    return intersection / np.maximum(union, 1e-12)


def center_distances(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the distances of the centres in pixels, pair by pair, float64 [frames]."""
    centers, other_centers = (one[:, :2] + (one[:, 2:] - 1.0) / 2.0 for one in (boxes, others))
    return np.sqrt(np.square(centers - other_centers).sum(axis=1))


def scores(boxes: np.ndarray, truth: np.ndarray) -> Scores:
    """Score the boxes of a sequence by the true ones; the longer of both is cut."""
    count = min(len(boxes), len(truth))
    boxes, truth = boxes[:count], truth[:count]
    is_visible = has_target(truth)
    boxes, truth = boxes[is_visible], truth[is_visible]
    overlap, distance = overlaps(boxes, truth), center_distances(boxes, truth)
    success = (overlap[None, :] > OVERLAP_THRESHOLDS[:, None]).mean(axis=1)
    precision = (distance[None, :] <= DISTANCE_THRESHOLDS[:, None]).mean(axis=1)
    return Scores(len(boxes), success.tolist(), precision.tolist(), float(success.mean()),
                  float(precision[PRECISION_PIXELS]), float(overlap.mean()))


def overall(by_sequence: Sequence[Scores]) -> Scores:
    """Return the mean over sequences, each with the same weight."""
    means = [np.mean([getattr(scored, name) for scored in by_sequence], axis=0).tolist()
             for name in ("success", "precision", "auc", "precision_20", "mean_overlap")]
    return Scores(sum(scored.frames for scored in by_sequence), *means)
