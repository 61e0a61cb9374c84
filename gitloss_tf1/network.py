"""The network: three stages of two convolutions, a 2-D feature, ten logits.

Its layers are plain tf.nn on NHWC images, with the variable names of tf.contrib.slim. Every initialiser gets a seed
made from the variable's full name, so the initial weights depend on the run's seed alone.
"""
from __future__ import annotations

from typing import NamedTuple

from common.graph.compat import tf
from common.seeds import op_seed
from gitloss_tf1.mnist import NUM_CLASSES, SIDE

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
            hidden = tf.nn.relu(conv2d(hidden, channels, f"conv{stage}_{layer}", seed))
        hidden = max_pool(hidden)  # 28 -> 14 -> 7 -> 3
    features = dense(flatten(hidden), FEATURE_DIM, "fc1", seed)
    logits = dense(prelu(features, "PReLU"), NUM_CLASSES, "fc2", seed)
    return Outputs(features, logits)


def conv2d(inputs: tf.Tensor, filters: int, scope: str, seed: int) -> tf.Tensor:
    """Convolve float32 [batch, height, width, channels] with 3 x 3 kernels, stride 1 and SAME padding; add a bias."""
    with tf.variable_scope(scope):
        weights = _weights([3, 3, int(inputs.shape[-1]), filters], seed)
        return _add_bias(tf.nn.conv2d(inputs, weights, strides=[1, 1, 1, 1], padding="SAME"))


def max_pool(inputs: tf.Tensor) -> tf.Tensor:
    """Take the maximum over windows of 2 x 2 that do not overlap; incomplete windows are dropped."""
    return tf.nn.max_pool2d(inputs, ksize=2, strides=2, padding="VALID")


def flatten(inputs: tf.Tensor) -> tf.Tensor:
    """Return [batch, height * width * channels], in NHWC order."""
    return tf.reshape(inputs, [-1, inputs.shape[1:].num_elements()])


def dense(inputs: tf.Tensor, units: int, scope: str, seed: int) -> tf.Tensor:
    """Return inputs @ weights + biases, float32 [batch, units]."""
    with tf.variable_scope(scope):
        return _add_bias(tf.matmul(inputs, _weights([int(inputs.shape[-1]), units], seed)))


def prelu(inputs: tf.Tensor, scope: str) -> tf.Tensor:
    """Apply a parametric ReLU, relu(x) + alpha * (x - |x|) / 2, with an alpha per channel (He et al. 2015, eq. 1)."""
    with tf.variable_scope(scope):
        alphas = tf.get_variable("alphas", [int(inputs.shape[-1])], initializer=tf.zeros_initializer())
        return tf.nn.relu(inputs) + alphas * (inputs - tf.abs(inputs)) * 0.5


def _weights(shape: list[int], seed: int) -> tf.Variable:
    """Create Glorot uniform weights: limit sqrt(6 / (fan_in + fan_out)); fans include a kernel's receptive field."""
    name = f"{tf.get_variable_scope().name}/weights"
    return tf.get_variable("weights", shape, initializer=tf.glorot_uniform_initializer(seed=op_seed(name, seed)))


def _add_bias(inputs: tf.Tensor) -> tf.Tensor:
    biases = tf.get_variable("biases", [int(inputs.shape[-1])], initializer=tf.zeros_initializer())
    return tf.nn.bias_add(inputs, biases)
