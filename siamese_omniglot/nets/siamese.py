"""The Siamese network: one tower for both drawings, the L1 distance of their features, two dense layers; its losses.

`vgg16` is the original's tower, the thirteen convolutions of Simonyan & Zisserman 2015 (arXiv 1409.1556, configuration
D) with five pooling layers: 105 -> 52 -> 26 -> 13 -> 6 -> 3, 4608 features. `conv4` is small enough for a CPU: average
pooling over 3 x 3 pixels, then four convolutions of 64 channels with max pooling, 35 -> 17 -> 8 -> 4 -> 2, 256
features. It is the usual network of few-shot papers (Vinyals et al. 2016, arXiv 1606.04080, section 4.1.1) without
batch normalisation.

The head is that of Koch et al. 2015, section 3.1, with a hidden layer: p = sigmoid(w . h(W |f1 - f2| + b) + c). The
TensorFlow original uses a ReLU for h, the PyTorch original the identity. The cosine head has no hidden layer: its logit
is linear in the cosine of f1 and f2.
"""
from __future__ import annotations

from typing import Any, Callable, NamedTuple

import numpy as np

from common.keras.session import tf
from common.seeds import op_seed
from siamese_omniglot.data.omniglot import SIDE

_HIDDEN = 512
_COSINE_SCALE = 10.0  # initial slope of the logit of the cosine head
_CHANNELS = {"vgg16": 3, "conv4": 1}
_FEATURES = {"vgg16": 4608, "conv4": 256}
_EPSILON = 1e-7  # Keras', of probabilities
THRESHOLD = 0.5  # of the probability

layers = tf.keras.layers


class Siamese(NamedTuple):
    """The network, as Keras models with shared layers."""

    tower: Any  # images float32 [num, 105, 105, channels] in [0, 1] to features [num, dim]
    head: Any  # distances float32 [num, dim] to logits float32 [num, 1]
    chain: Any  # tower and head in sequence, with all variables in the original's order, for weight files
    channels: int
    has_unit_features: bool  # features are scaled to unit length

    def named_variables(self) -> dict[str, Any]:
        """Return all variables by `layer/kernel` and `layer/bias`, in the original's order."""
        return {f"{layer.name}/{variable.name.split('/')[-1].split(':')[0]}": variable
                for layer in self.chain.layers for variable in layer.weights}

    def to_input(self, drawings: tf.Tensor) -> tf.Tensor:
        """Scale uint8 [num, 105, 105] drawings to the tower's input; float32 images stay as they are."""
        if drawings.dtype != tf.uint8:
            return drawings
        return tf.repeat(tf.cast(drawings, tf.float32)[..., None] / 255.0, self.channels, axis=-1)

    def features(self, drawings: tf.Tensor) -> tf.Tensor:
        """Return features, float32 [num, dim], of drawings, uint8 [num, 105, 105], or of the tower's input."""
        features = tf.cast(self.tower(self.to_input(drawings)), tf.float32)
        return tf.math.l2_normalize(features, 1) if self.has_unit_features else features

    def similarity(self, first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
        """Return logits, float32 [num], of pairs of features [num, dim]. Higher means more similar."""
        return tf.cast(self.head(tf.abs(first - second)), tf.float32)[:, 0]

    def similarities(self, first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
        """Return logits, float32 [rows, columns], of features [rows, dim] against all of [columns, dim]."""
        distances = tf.abs(first[:, None] - second[None, :])
        logits = self.head(tf.reshape(distances, [-1, first.shape[1]]))
        return tf.reshape(tf.cast(logits, tf.float32), tf.shape(distances)[:2])

    def logits(self, first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
        """Return logits, float32 [num], of pairs of drawings, with one pass through the tower for both."""
        return self.similarity(*tf.split(self.features(tf.concat([first, second], 0)), 2))


def build(backbone: str, head: str, seed: int) -> Siamese:
    """Build the network with random weights: "vgg16" or "conv4" with the head "tf", "torch" or "cosine"."""
    images = layers.Input((SIDE, SIDE, _CHANNELS[backbone]), name="images")
    if backbone == "vgg16":
        hidden = tf.keras.applications.VGG16(weights=None, include_top=False, input_tensor=images).output
    else:
        hidden = _conv4(images)
    features = layers.Flatten(name="flatten")(hidden)
    distances = layers.Input((features.shape[-1],), name="distances")
    hidden_layer, last = _hidden_layer(head), layers.Dense(1, name="dense_1")
    network = Siamese(
        tower=tf.keras.Model(images, features, name="tower"),
        head=tf.keras.Model(distances, last(hidden_layer(distances)), name="head"),
        chain=tf.keras.Model(images, last(hidden_layer(features)), name="siamese"),
        channels=_CHANNELS[backbone],
        has_unit_features=head == "cosine")
    for name, variable in network.named_variables().items():
        variable.assign(initial_value(name, tuple(variable.shape), backbone, head, seed))
    return network


def _hidden_layer(head: str) -> Callable[[Any], Any]:
    if head == "cosine":
        square = layers.Dot(1, name="square")  # of the distance of unit features: 2 - 2 cosine
        return lambda distances: square([distances, distances])
    return layers.Dense(_HIDDEN, "relu" if head == "tf" else None, name="dense")


def _conv4(hidden: Any) -> Any:
    hidden = layers.AveragePooling2D(3, 3, name="average")(hidden)
    for number in range(1, 5):
        hidden = layers.Conv2D(64, 3, padding="same", activation="relu", name=f"conv{number}")(hidden)
        hidden = layers.MaxPooling2D(2, 2, name=f"pool{number}")(hidden)
    return hidden


def initial_value(name: str, shape: tuple, backbone: str, head: str, seed: int) -> np.ndarray:
    """Draw the initial value of a variable with NumPy, so that it is the same with any version of TensorFlow.

    With the tf head, kernels are Glorot uniform and biases 0, as in Keras. With the torch head, convolutions are
    Kaiming normal (fan out) with zero biases, and dense layers uniform in +-1 / sqrt(fan in), as in PyTorch. The
    convolutions of conv4 are always Kaiming normal (fan in; He et al. 2015, arXiv 1502.01852). The cosine head begins
    with the logit 10 cosine - 5, and VGG16 with it as with the tf head.
    """
    random = np.random.RandomState(op_seed(name, seed))
    is_kernel, is_convolution = name.endswith("/kernel"), len(shape) == 4
    if is_convolution and backbone == "conv4":
        value = random.standard_normal(shape) * np.sqrt(2.0 / np.prod(shape[:-1]))
    elif is_convolution and head == "torch":
        value = random.standard_normal(shape) * np.sqrt(2.0 / (np.prod(shape[:2]) * shape[-1]))
    elif name.startswith("dense_1") and head == "cosine":
        value = np.full(shape, 0.5 * (-_COSINE_SCALE if is_kernel else _COSINE_SCALE))
    elif is_kernel and head != "torch":
        receptive = np.prod(shape[:-2])
        value = random.uniform(-1, 1, shape) * np.sqrt(6.0 / (receptive * (shape[-2] + shape[-1])))
    elif name.startswith("dense") and head == "torch":
        fan_in = shape[0] if is_kernel else _HIDDEN if name.startswith("dense_1") else _FEATURES[backbone]
        value = random.uniform(-1, 1, shape) / np.sqrt(fan_in)
    else:
        value = np.zeros(shape)
    return value.astype(np.float32)


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
