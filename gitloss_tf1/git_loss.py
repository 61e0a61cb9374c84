"""Git loss (Calefati et al. 2018, arXiv 1807.08512): center loss plus a push away from all other centers.

    L   = L_S + lambda_c * L_C + lambda_g * L_G
    L_S = softmax cross entropy
    L_C = 1/2 sum_i ||f_i - c_{y_i}||^2                      pulls a feature to the center of its class
    L_G = sum_{i != j} 1 / (1 + ||f_i - c_{y_j}||^2)         pushes it away from the centers of the batch's samples
    c_k <- c_k - alpha * sum_{i: y_i = k} (c_k - f_i) / (1 + n_k),   alpha = 0.5

f [B, D] are features, y [B] labels, c [C, D] centers, n_k the samples of class k in the batch.

Differs from the paper, in the form "element" (what the original implementation computes):
    center term = mean over the B * D elements of (f_ik - c_{y_i k})^2                       no 1/2, mean for sum
    pair term   = mean over the B * B * D elements of 1 / (1 + d_ijk^2), d_ijk = f_ik - c_{y_j k}, d_iik = 0,
                  so distances are taken dimension by dimension and the diagonal adds a constant 1 / B.
In the form "sample":
    center term = 1/2 mean over the samples of ||f_i - c_{y_i}||^2
    pair term   = mean over the B (B - 1) ordered pairs i != j of 1 / (1 + ||f_i - c_{y_j}||^2)

Both pair terms depend on j through y_j alone, so the sum over j is one over classes, weighted with how many j != i
have that class: B * C terms stand for B * B, without the [B, B, D] tensor of the original.
"""
from __future__ import annotations

from typing import NamedTuple

from common.graph.compat import tf

ALPHA = 0.5  # rate of the centers


class GitLoss(NamedTuple):
    """The terms of the loss, float32 scalars."""

    softmax: tf.Tensor
    center: tf.Tensor
    pair: tf.Tensor
    git: tf.Tensor  # lambda_c * center + lambda_g * pair
    total: tf.Tensor  # softmax + git


def git_loss(features: tf.Tensor, logits: tf.Tensor, labels: tf.Tensor, centers: tf.Tensor, lambda_c: float,
             lambda_g: float, center_form: str = "element", pair_form: str = "element") -> GitLoss:
    """Build the loss.

    Args:
        features: float32 [batch, dim].
        logits: float32 [batch, classes].
        labels: int64 [batch], 0 to classes - 1.
        centers: float32 [classes, dim]; no gradient flows into them.
        lambda_c: weight of the center term.
        lambda_g: weight of the pair term; with 0 this is center loss (Wen et al. 2016).
        center_form: "element" or "sample", see above.
        pair_form: "element" or "sample", see above.

    Raises:
        ValueError: features and centers are not of rank 2 with the same dim.
    """
    if features.shape.ndims != 2 or centers.shape.ndims != 2 or int(features.shape[1]) != int(centers.shape[1]):
        raise ValueError(f"expected features [batch, dim] and centers [classes, dim], got {features.shape} and "
                         f"{centers.shape}")
    centers = tf.stop_gradient(centers)
    softmax = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
    center = center_term(features, labels, centers, center_form)
    pair = pair_term(features, labels, centers, pair_form)
    git = lambda_c * center + lambda_g * pair
    return GitLoss(softmax, center, pair, git, softmax + git)


def center_term(features: tf.Tensor, labels: tf.Tensor, centers: tf.Tensor, form: str) -> tf.Tensor:
    """Squared distance to the own center; arguments as in `git_loss`, returns float32 []."""
    squares = tf.square(features - tf.gather(centers, labels))  # [batch, dim]
    if form == "element":
        return tf.reduce_mean(squares)
    return 0.5 * tf.reduce_mean(tf.reduce_sum(squares, axis=1))


def pair_term(features: tf.Tensor, labels: tf.Tensor, centers: tf.Tensor, form: str) -> tf.Tensor:
    """Nearness to the centers of the batch's other samples; arguments as in `git_loss`, returns float32 []."""
    own_class = tf.one_hot(labels, int(centers.shape[0]))  # [batch, classes]
    # others[i, k]: how many samples j != i have class k
    others = tf.reduce_sum(own_class, axis=0) - own_class  # [batch, classes]
    batch = tf.cast(tf.shape(features)[0], tf.float32)
    squares = tf.square(features[:, None, :] - centers[None, :, :])  # [batch, classes, dim]
    if form == "element":
        nearness = tf.reduce_mean(1.0 / (1.0 + squares), axis=2)
        return tf.reduce_sum(others * nearness) / batch / batch + 1.0 / batch
    nearness = 1.0 / (1.0 + tf.reduce_sum(squares, axis=2))
    return tf.reduce_sum(others * nearness) / tf.maximum(batch * (batch - 1.0), 1.0)


def center_distances(features: tf.Tensor, labels: tf.Tensor, centers: tf.Tensor) -> tf.Tensor:
    """Return (c_{y_i} - f_i) / (1 + n_{y_i}), float32 [batch, dim]: what a sample moves its center by, times -alpha."""
    own_class = tf.one_hot(labels, int(centers.shape[0]))
    count = tf.gather(tf.reduce_sum(own_class, axis=0), labels)  # [batch]
    return (tf.gather(centers, labels) - features) / (1.0 + count)[:, None]


def update_centers(centers: tf.Variable, old_centers: tf.Tensor, features: tf.Tensor, labels: tf.Tensor
                   ) -> tf.Operation:
    """Return the op that moves the centers; samples of one class add up, all taken from the old center.

    Args:
        centers: the variable, float32 [classes, dim].
        old_centers: its value, read before the update.
        features: float32 [batch, dim].
        labels: int64 [batch].
    """
    deltas = center_distances(features, labels, old_centers)
    return tf.scatter_sub(centers, labels, ALPHA * deltas)
