"""Circle loss (Sun et al. 2020, arXiv 2002.10857).

With within-class similarities s_p, between-class similarities s_n, relaxation m and scale gamma:

    L       = log(1 + sum_n exp(gamma alpha_n (s_n - D_n)) * sum_p exp(-gamma alpha_p (s_p - D_p)))     eq. 6
    alpha_p = [O_p - s_p]+     alpha_n = [s_n - O_n]+     constants to the gradient                     eq. 5
    O_p = 1 + m,  O_n = -m,  D_p = 1 - m,  D_n = m                                                      eq. 7, 8

Class form: one positive, the similarity of a sample to the weight of its class; all other classes are negatives. Eq. 6
is then the softmax cross entropy of the logits z = gamma alpha (s - D), and is computed as such.

Paper's values for faces: gamma 256, m 0.25 (eq. 10 and section 4.2), on cosine similarities.

Differs from the paper: nothing in the loss. The original implementation (recipe `reference`) uses rows of logits scaled
to unit length instead of cosines.

Everything after the similarities is computed in float32, whatever their dtype: |z| stays below gamma (2 + m)^2, but
float16 would keep only three digits of it.
"""
from __future__ import annotations

from common.graph.compat import tf

GAMMA = 256.0
MARGIN = 0.25


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


def sample_losses(similarities: tf.Tensor, labels: tf.Tensor, gamma: float = GAMMA, margin: float = MARGIN
                  ) -> tf.Tensor:
    """Return the loss of each sample against every class, float32 [batch].

    No one-hot matrix is needed: the positive logit replaces the negative one at each sample's label. Raises ValueError
    if similarities are not of rank 2 or labels not of rank 1.

    Args:
        similarities: float [batch, classes], bigger is closer, -1 to 1.
        labels: int [batch], 0 to classes - 1.
        gamma: scale, above 0.
        margin: relaxation m.
    """
    if similarities.shape.ndims != 2 or labels.shape.ndims != 1:
        raise ValueError(f"expected similarities [batch, classes] and labels [batch], got {similarities.shape} and "
                         f"{labels.shape}")
    rows = tf.range(tf.shape(labels, out_type=labels.dtype)[0], dtype=labels.dtype)
    own_class = tf.stack([rows, labels], axis=1)
    positive = positive_logits(tf.gather_nd(similarities, own_class), gamma, margin)
    logits = tf.tensor_scatter_nd_update(negative_logits(similarities, gamma, margin), own_class, positive)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)


def circle_loss(similarities: tf.Tensor, labels: tf.Tensor, gamma: float = GAMMA, margin: float = MARGIN) -> tf.Tensor:
    """Return the mean of `sample_losses` over the batch, float32 []."""
    return tf.reduce_mean(sample_losses(similarities, labels, gamma, margin))
