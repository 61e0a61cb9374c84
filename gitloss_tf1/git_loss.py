"""Git loss (Calefati et al. 2018, arXiv 1807.08512): center loss plus a term that repels features from other centers.

    L   = L_S + lambda_c * L_C + lambda_g * L_G
    L_S = softmax cross entropy
    L_C = 1/2 sum_i ||f_i - c_{y_i}||^2                      pulls a feature to the center of its class
    L_G = sum_{i != j} 1 / (1 + ||f_i - c_{y_j}||^2)         pushes it away from the centers of the other samples
    c_k <- c_k - alpha * sum_{i: y_i = k} (c_k - f_i) / (1 + n_k),   alpha = 0.5

f [B, D] are features, y [B] labels, c [C, D] centers, n_k is the number of samples of class k in the batch.

Differs from the paper, in the form "element" (what the original implementation computes):
    center term = mean over the B * D elements of (f_ik - c_{y_i k})^2, without the 1/2
    pair term   = mean over the B * B * D elements of 1 / (1 + d_ijk^2), d_ijk = f_ik - c_{y_j k}, d_iik = 0,
                  so distances are per dimension, and the diagonal adds a constant 1 / B.
In the form "sample":
    center term = 1/2 mean over the samples of ||f_i - c_{y_i}||^2
    pair term   = mean over the B (B - 1) ordered pairs i != j of 1 / (1 + ||f_i - c_{y_j}||^2)

Both pair terms depend on j only through y_j, so the sum over j is a sum over classes, weighted by the number of j != i
of that class: B * C terms instead of B * B, and no [B, B, D] tensor as in the original.
"""
from __future__ import annotations

from typing import NamedTuple

from common.graph.compat import tf
from gitloss_tf1.recipe import LossSettings

ALPHA = 0.5  # learning rate of the centers


class GitLoss(NamedTuple):
    """The terms of the loss, float32 scalars."""

    softmax: tf.Tensor
    center: tf.Tensor
    pair: tf.Tensor
    git: tf.Tensor  # lambda_c * center + lambda_g * pair
    total: tf.Tensor  # softmax + git


def git_loss(features: tf.Tensor, logits: tf.Tensor, labels: tf.Tensor, centers: tf.Tensor, settings: LossSettings
             ) -> GitLoss:
    """Build the loss.

    Args:
        features: float32 [batch, dim].
        logits: float32 [batch, classes].
        labels: int64 [batch], 0 to classes - 1.
        centers: float32 [classes, dim]; no gradient flows into them.
        settings: weights and forms of the terms.

    Raises:
        ValueError: features and centers are not of rank 2 with the same dim.
    """
    if features.shape.ndims != 2 or centers.shape.ndims != 2 or int(features.shape[1]) != int(centers.shape[1]):
        raise ValueError(f"expected features [batch, dim] and centers [classes, dim], got {features.shape} and "
                         f"{centers.shape}")
    centers = tf.stop_gradient(centers)
    softmax = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
    center = center_term(features, labels, centers, settings.switches.center_term)
    pair = pair_term(features, labels, centers, settings.switches.pair_term)
    git = settings.lambda_c * center + settings.lambda_g * pair
    return GitLoss(softmax, center, pair, git, softmax + git)


def center_term(features: tf.Tensor, labels: tf.Tensor, centers: tf.Tensor, form: str) -> tf.Tensor:
    """Return the mean squared distance to the own center, float32 []; arguments as in `git_loss`."""
    squares = tf.square(features - tf.gather(centers, labels))  # [batch, dim]
    if form == "element":
        return tf.reduce_mean(squares)  # of (f_ik - c_{y_i k})^2
    return 0.5 * tf.reduce_mean(tf.reduce_sum(squares, axis=1))  # L_C / B: 1/2 of ||f_i - c_{y_i}||^2


def pair_term(features: tf.Tensor, labels: tf.Tensor, centers: tf.Tensor, form: str) -> tf.Tensor:
    """Return the mean closeness to the centers of the other samples, float32 []; arguments as in `git_loss`."""
    own_class = tf.one_hot(labels, int(centers.shape[0]))  # [batch, classes]
    # others[i, k]: number of samples j != i of class k
    others = tf.reduce_sum(own_class, axis=0) - own_class  # [batch, classes]
    batch = tf.cast(tf.shape(features)[0], tf.float32)
    squares = tf.square(features[:, None, :] - centers[None, :, :])  # [batch, classes, dim]
    if form == "element":
        closeness = tf.reduce_mean(1.0 / (1.0 + squares), axis=2)  # 1 / (1 + d^2), by dimension
        return tf.reduce_sum(others * closeness) / batch / batch + 1.0 / batch
    closeness = 1.0 / (1.0 + tf.reduce_sum(squares, axis=2))  # L_G: 1 / (1 + ||f_i - c_k||^2)
    return tf.reduce_sum(others * closeness) / tf.maximum(batch * (batch - 1.0), 1.0)


def center_distances(features: tf.Tensor, labels: tf.Tensor, centers: tf.Tensor) -> tf.Tensor:
    """Return (c_{y_i} - f_i) / (1 + n_{y_i}), float32 [batch, dim]: a sample moves its center by -alpha times this."""
    own_class = tf.one_hot(labels, int(centers.shape[0]))
    count = tf.gather(tf.reduce_sum(own_class, axis=0), labels)  # [batch]
    return (tf.gather(centers, labels) - features) / (1.0 + count)[:, None]


def update_centers(centers: tf.Variable, old_centers: tf.Tensor, features: tf.Tensor, labels: tf.Tensor
                   ) -> tf.Operation:
    """Return the op that moves the centers; the moves of one class add up, all computed from `old_centers`.

    These are the value of `centers`, read before the update; the other arguments are as in `git_loss`.
    """
    return tf.scatter_sub(centers, labels, ALPHA * center_distances(features, labels, old_centers))
