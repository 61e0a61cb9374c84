"""The loss and the accuracy of pairs."""
from __future__ import annotations

from common.keras.session import tf

_EPSILON = 1e-7  # Keras'
THRESHOLD = 0.5  # of the probability


def pair_losses(logits: tf.Tensor, labels: tf.Tensor, head: str) -> tf.Tensor:
    """Binary cross entropy of pairs (Koch et al. 2015, section 3.2): -y log p - (1 - y) log(1 - p), p = sigmoid(logit).

    The TensorFlow original computes it from probabilities clipped to [1e-7, 1 - 1e-7], so the gradient of a pair that
    is completely wrong is zero. The PyTorch original computes it from logits, which is also done for the cosine head.
    Logits, labels (1 for pairs of one character, 0 for others) and losses are float32 [num].
    """
    if head != "tf":
        return tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
    probabilities = tf.clip_by_value(tf.sigmoid(logits), _EPSILON, 1.0 - _EPSILON)
    return -(labels * tf.math.log(probabilities + _EPSILON)
             + (1.0 - labels) * tf.math.log(1.0 - probabilities + _EPSILON))


def n_pair_loss(logits: tf.Tensor) -> tf.Tensor:
    """N-pair loss (Sohn 2016, "Improved Deep Metric Learning with Multi-class N-pair Loss Objective", equation 6).

    Each drawing has to be more similar to its partner than to the partners of the others: the mean over rows and
    columns of -log softmax at the diagonal. Differs from the paper: the similarity is that of the network's head, not
    an inner product. Logits are float32 [num, num]: rows are the first drawings of pairs, columns the second ones; the
    loss is float32 [].
    """
    partners = tf.range(tf.shape(logits)[0])
    losses = [tf.nn.sparse_softmax_cross_entropy_with_logits(labels=partners, logits=table)
              for table in (logits, tf.transpose(logits))]
    return 0.5 * tf.add_n([tf.reduce_mean(loss) for loss in losses])


def are_right(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Return 1 for pairs on the correct side of the threshold, else 0, float32 [num]. 0.5 means two characters."""
    return tf.cast(tf.equal(tf.sigmoid(logits) > THRESHOLD, labels > 0.5), tf.float32)
