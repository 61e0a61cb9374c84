"""The network: three stages of two convolutions, a 2-D feature, ten logits.

Its layers are plain tf.nn on NHWC images, with the variable names of tf.contrib.slim. Every initialiser gets a seed
made from the variable's full name, so the initial weights depend on the run's seed alone.
"""
from __future__ import annotations

from typing import Any, Callable, NamedTuple

from common.graph.compat import tf
from common.seeds import op_seed
from gitloss_tf1.mnist import NUM_CLASSES, SIDE

Activation = Callable[[Any], Any]
FEATURE_DIM = 2
IMAGE_SHAPE = (SIDE, SIDE, 1)
STAGE_CHANNELS = (32, 64, 128)


class Outputs(NamedTuple):
    """The network's outputs for a batch."""

    features: tf.Tensor  # float32 [batch, 2], before the PReLU; for the git loss and the plots
    logits: tf.Tensor  # float32 [batch, 10]


def network(images: tf.Tensor, seed: int) -> Outputs:
    """Build the network; in a scope that reuses, on existing variables.

    Args:
        images: float32 [batch, 28, 28, 1], in [0, 1] minus the mean image.
        seed: the run's seed, for the initial weights.
    """
    hidden = images
    for stage, channels in enumerate(STAGE_CHANNELS, 1):
        for layer in (1, 2):
            hidden = conv2d(hidden, channels, 3, f"conv{stage}_{layer}", seed, tf.nn.relu)
        hidden = max_pool(hidden, 2)  # 28 -> 14 -> 7 -> 3
    features = dense(flatten(hidden), FEATURE_DIM, "fc1", seed)
    logits = dense(prelu(features, "PReLU"), NUM_CLASSES, "fc2", seed)
    return Outputs(features, logits)


def conv2d(inputs: tf.Tensor, filters: int, kernel: int, scope: str, seed: int, activation: Activation | None = None
           ) -> tf.Tensor:
    """Convolve with stride 1 and SAME padding, add a bias.

    Args:
        inputs: float32 [batch, height, width, channels].
        filters: number of output channels.
        kernel: side of the square kernel.
        scope: holds `weights` [kernel, kernel, channels, filters] and `biases` [filters].
        seed: the run's seed.
        activation: applied to the result, or None.

    Returns:
        float32 [batch, height, width, filters].
    """
    with tf.variable_scope(scope):
        weights = _weights([kernel, kernel, int(inputs.shape[-1]), filters], seed)
        convolved = tf.nn.conv2d(inputs, weights, strides=[1, 1, 1, 1], padding="SAME")
        return _add_bias(convolved, filters, activation)


def max_pool(inputs: tf.Tensor, size: int) -> tf.Tensor:
    """Take the maximum over windows of size x size that do not overlap; incomplete windows are dropped."""
    return tf.nn.max_pool2d(inputs, ksize=size, strides=size, padding="VALID")


def flatten(inputs: tf.Tensor) -> tf.Tensor:
    """Return [batch, height * width * channels], in NHWC order."""
    size = 1
    for dimension in inputs.shape.as_list()[1:]:
        size *= dimension
    return tf.reshape(inputs, [-1, size])


def dense(inputs: tf.Tensor, units: int, scope: str, seed: int, activation: Activation | None = None) -> tf.Tensor:
    """Return inputs @ weights + biases.

    Args:
        inputs: float32 [batch, features].
        units: number of outputs.
        scope: holds `weights` [features, units] and `biases` [units].
        seed: the run's seed.
        activation: applied to the result, or None.

    Returns:
        float32 [batch, units].
    """
    with tf.variable_scope(scope):
        weights = _weights([int(inputs.shape[-1]), units], seed)
        return _add_bias(tf.matmul(inputs, weights), units, activation)


def prelu(inputs: tf.Tensor, scope: str) -> tf.Tensor:
    """Apply a parametric ReLU, relu(x) + alpha * (x - |x|) / 2, with an alpha per channel (He et al. 2015, eq. 1)."""
    with tf.variable_scope(scope):
        alphas = tf.get_variable("alphas", [int(inputs.shape[-1])], initializer=tf.zeros_initializer())
        return tf.nn.relu(inputs) + alphas * (inputs - tf.abs(inputs)) * 0.5


def _weights(shape: list[int], seed: int) -> tf.Variable:
    """Create Glorot uniform weights: limit sqrt(6 / (fan_in + fan_out)); fans include a kernel's receptive field."""
    name = f"{tf.get_variable_scope().name}/weights"
    return tf.get_variable("weights", shape, initializer=tf.glorot_uniform_initializer(seed=op_seed(name, seed)))


def _add_bias(inputs: tf.Tensor, units: int, activation: Activation | None) -> tf.Tensor:
    biases = tf.get_variable("biases", [units], initializer=tf.zeros_initializer())
    outputs = tf.nn.bias_add(inputs, biases)
    return activation(outputs) if activation else outputs
