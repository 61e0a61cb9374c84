"""The loss and the accuracy of pairs."""
from __future__ import annotations

import tensorflow as tf

_EPSILON = 1e-7  # Keras'
THRESHOLD = 0.5  # of the probability


def pair_losses(logits: tf.Tensor, labels: tf.Tensor, head: str) -> tf.Tensor:
    """Binary cross entropy of pairs (Koch et al. 2015, section 3.2): -y log p - (1 - y) log(1 - p), p = sigmoid(logit).

    The TensorFlow original takes it of probabilities clipped to [1e-7, 1 - 1e-7], so a pair that is utterly wrong gives
    no gradient; the PyTorch one takes it of logits.

    Args:
        logits: float32 [num].
        labels: float32 [num], 1 for pairs of one character, 0 for others.
        head: "tf" or "torch".

    Returns:
        float32 [num].
    """
    if head == "torch":
        return tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
    probabilities = tf.clip_by_value(tf.sigmoid(logits), _EPSILON, 1.0 - _EPSILON)
    return -(labels * tf.math.log(probabilities + _EPSILON)
             + (1.0 - labels) * tf.math.log(1.0 - probabilities + _EPSILON))


def are_right(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Whether pairs are on the right side of the threshold, float32 [num]; a probability of 0.5 says "other"."""
    return tf.cast(tf.equal(tf.sigmoid(logits) > THRESHOLD, labels > 0.5), tf.float32)
