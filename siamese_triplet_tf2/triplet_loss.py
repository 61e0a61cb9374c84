"""The triplet loss (Schroff et al. 2015, arXiv 1503.03832, equation 3).

    L = sum_i max(||f(a_i) - f(p_i)||^2 - ||f(a_i) - f(n_i)||^2 + margin, 0)

The embeddings f are not normalised (the paper normalises them), and the margin is 0.5 (the paper: 0.2). As in the
original, the gradient is that of the sum over the batch, and the mean is reported.
"""
from __future__ import annotations

from typing import NamedTuple

from common.keras.session import tf

MARGIN = 0.5


class Distances(NamedTuple):
    """Squared Euclidean distances, float32 [batch]."""

    positive: tf.Tensor  # anchor to positive
    negative: tf.Tensor  # anchor to negative


def distances(anchor: tf.Tensor, positive: tf.Tensor, negative: tf.Tensor) -> Distances:
    """Return the distances within triplets of embeddings, float32 [batch, dim] each."""
    return Distances(tf.reduce_sum(tf.square(anchor - positive), -1), tf.reduce_sum(tf.square(anchor - negative), -1))


def triplet_loss(measured: Distances, margin: float = MARGIN) -> tf.Tensor:
    """Return the loss of each triplet, float32 [batch]."""
    return tf.maximum(measured.positive - measured.negative + margin, 0.0)


def semi_hard_negatives(anchor: tf.Tensor, candidates: tf.Tensor, positive_distance: tf.Tensor, excluded: tf.Tensor
                        ) -> tf.Tensor:
    """Choose for each anchor the nearest candidate that is farther than its positive, or else the farthest one.

    Such negatives are hard, but not so hard that training collapses (Schroff et al. 2015, section 3.2). Returns their
    indices, int64 [batch].

    Args:
        anchor: float32 [batch, dim].
        candidates: float32 [num, dim].
        positive_distance: float32 [batch], squared.
        excluded: bool [batch, num], candidates that cannot be a negative of an anchor.
    """
    squared = tf.reduce_sum(tf.square(anchor[:, None, :] - candidates[None, :, :]), -1)  # [batch, num]
    far = squared.dtype.max  # not infinity, which --over_dump would report
    farther = tf.logical_and(squared > positive_distance[:, None], tf.logical_not(excluded))
    nearest_farther = tf.argmin(tf.where(farther, squared, far), axis=1)
    farthest = tf.argmax(tf.where(excluded, -far, squared), axis=1)
    return tf.where(tf.reduce_any(farther, axis=1), nearest_farther, farthest)
