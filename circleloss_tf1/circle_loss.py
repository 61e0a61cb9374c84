"""Circle loss (Sun et al. 2020, arXiv 2002.10857).

With within-class similarities s_p (K of them), between-class similarities s_n (L), relaxation m and scale gamma:

    L       = log(1 + sum_n exp(gamma alpha_n (s_n - D_n)) * sum_p exp(-gamma alpha_p (s_p - D_p)))     eq. 6
            = softplus(logsumexp_n(z_n) + logsumexp_p(-z_p))
    alpha_p = [O_p - s_p]+     alpha_n = [s_n - O_n]+     constants to the gradient                     eq. 5
    O_p = 1 + m,  O_n = -m,  D_p = 1 - m,  D_n = m                                                      eq. 7, 8

Class form: one positive, the similarity of a sample to the weight of its class; all other classes are negatives. Eq. 6
is then the softmax cross entropy of the logits z, and is computed as such. Pair form: similarities between samples.

Paper's values for faces: gamma 256, m 0.25 (eq. 10 and section 4.2), on cosine similarities.

Differs from the paper: nothing in the loss. The original implementation (recipe `reference`) uses rows of logits scaled
to unit length instead of cosines.

Everything after the similarities is computed in float32, whatever their dtype: |z| stays below gamma (2 + m)^2, but
float16 would keep only three digits of it. An empty set of pairs has logsumexp = -infinity, here a number so low that
loss and gradient are exactly 0.
"""
from __future__ import annotations

from typing import NamedTuple

from common.graph.compat import tf

GAMMA = 256.0
MARGIN = 0.25
_LOWEST = -1e30  # for exp(.) = 0 without infinities, which would give NaN gradients


class Logits(NamedTuple):
    """Weighted logits of eq. 6, float32, in the shape of the similarities."""

    positive: tf.Tensor  # z_p = gamma alpha_p (s_p - D_p)
    negative: tf.Tensor  # z_n = gamma alpha_n (s_n - D_n)


def positive_logits(similarities: tf.Tensor, gamma: float, margin: float) -> tf.Tensor:
    """Return z_p of eq. 5 to 8, float32, in the shape of the similarities."""
    similarities = tf.cast(similarities, tf.float32)
    alpha = tf.nn.relu(1.0 + margin - tf.stop_gradient(similarities))
    return gamma * alpha * (similarities - (1.0 - margin))


def negative_logits(similarities: tf.Tensor, gamma: float, margin: float) -> tf.Tensor:
    """Return z_n of eq. 5 to 8, float32, in the shape of the similarities."""
    similarities = tf.cast(similarities, tf.float32)
    alpha = tf.nn.relu(tf.stop_gradient(similarities) + margin)
    return gamma * alpha * (similarities - margin)


def circle_loss(similarities: tf.Tensor, labels: tf.Tensor, gamma: float = GAMMA, margin: float = MARGIN) -> tf.Tensor:
    """Return the loss of the class form, every sample against every class.

    No one-hot matrix is needed: the positive logit replaces the negative one at each sample's label.

    Args:
        similarities: float [batch, classes], bigger is closer, -1 to 1.
        labels: int [batch], 0 to classes - 1.
        gamma: scale, above 0.
        margin: relaxation m.

    Returns:
        float32 [], the mean over the batch.

    Raises:
        ValueError: similarities are not of rank 2 or labels not of rank 1.
    """
    if similarities.shape.ndims != 2 or labels.shape.ndims != 1:
        raise ValueError(f"expected similarities [batch, classes] and labels [batch], got {similarities.shape} and "
                         f"{labels.shape}")
    rows = tf.range(tf.shape(labels, out_type=labels.dtype)[0], dtype=labels.dtype)
    own_class = tf.stack([rows, labels], axis=1)
    positive = positive_logits(tf.gather_nd(similarities, own_class), gamma, margin)
    logits = tf.tensor_scatter_nd_update(negative_logits(similarities, gamma, margin), own_class, positive)
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))


def unified_loss(logits: Logits, is_positive: tf.Tensor, is_negative: tf.Tensor) -> tf.Tensor:
    """Return eq. 6 over the last axis, for sets given by masks.

    Args:
        logits: of the pairs, float32 [..., pairs].
        is_positive: bool [..., pairs].
        is_negative: bool [..., pairs].

    Returns:
        float32 [...]; 0 where there is no positive or no negative.
    """
    lowest = tf.fill(tf.shape(logits.positive), _LOWEST)
    positive = tf.reduce_logsumexp(tf.where(is_positive, -logits.positive, lowest), axis=-1)
    negative = tf.reduce_logsumexp(tf.where(is_negative, logits.negative, lowest), axis=-1)
    return tf.nn.softplus(positive + negative)


def pair_circle_loss(embeddings: tf.Tensor, labels: tf.Tensor, gamma: float = GAMMA, margin: float = MARGIN
                     ) -> tf.Tensor:
    """Return the loss of the pair form: eq. 6 over all pairs i < j of the batch.

    Args:
        embeddings: float [batch, dim], L2-normalised; similarities are their inner products.
        labels: int [batch]; a pair of equal labels is a positive.
        gamma: scale, above 0.
        margin: relaxation m.

    Returns:
        float32 []; 0 when the batch has no positive or no negative pair.

    Raises:
        ValueError: embeddings are not of rank 2 or labels not of rank 1.
    """
    if embeddings.shape.ndims != 2 or labels.shape.ndims != 1:
        raise ValueError(f"expected embeddings [batch, dim] and labels [batch], got {embeddings.shape} and "
                         f"{labels.shape}")
    similarities = tf.reshape(tf.matmul(embeddings, embeddings, transpose_b=True), [-1])  # [batch * batch]
    indices = tf.range(tf.shape(labels)[0])
    is_pair = tf.reshape(indices[:, None] < indices[None, :], [-1])
    is_same = tf.reshape(tf.equal(labels[:, None], labels[None, :]), [-1])
    logits = Logits(positive_logits(similarities, gamma, margin), negative_logits(similarities, gamma, margin))
    return unified_loss(logits, tf.logical_and(is_pair, is_same), tf.logical_and(is_pair, tf.logical_not(is_same)))
