"""Residual networks for aligned faces: post-activation basic blocks (He et al. 2015, arXiv 1512.03385), no max pool.

    7x7 stride 2 convolution, BN, ReLU -> four stages of basic blocks, strides 1, 2, 2, 2 -> mean over space

The maps of a 112 x 112 face are 56, 56, 28, 14 and 7 pixels wide. Every convolution has a bias, although the batch
normalisation behind it cancels it: the original's checkpoints hold them. Variables have the names and the order of
tf.layers in the original: conv2d_k and batch_normalization_k, a block's projection after its two convolutions.
"""
from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

from common.graph.compat import tf
from common.graph.workers import Workers
from common.seeds import op_seed

BN_EPSILON = 0.001
BN_MOMENTUM = 0.995


class Architecture(NamedTuple):
    """Blocks and channels of the four stages; the first convolution has the first stage's channels."""

    blocks: tuple
    channels: tuple


ARCHITECTURES = {
    "models.resnet34": Architecture((3, 4, 6, 3), (64, 128, 256, 512)),  # the original's
    "models.resnet10": Architecture((1, 1, 1, 1), (16, 32, 64, 128)),  # about 1/50 of the work, for CPUs and tests
}


class Outputs(NamedTuple):
    """A network's outputs for a batch."""

    prelogits: tf.Tensor  # float32 [batch, channels of the last stage]
    first_convolution: tf.Tensor  # float32 [batch, height / 2, width / 2, channels], before batch normalisation
    stages: list  # float32 [batch, height, width, channels], after the first ReLU and after each stage
    updates: list  # ops that update the moving statistics, if they are used


def network(images: tf.Tensor, model_def: str, seed: int, batch_norm: str, workers: Workers | None = None) -> Outputs:
    """Build a network on images, float32 [batch, height, width, 3], about -1 to 1.

    Args:
        images: the images.
        model_def: a key of `ARCHITECTURES`.
        seed: the run's seed, for the initial weights.
        batch_norm: "batch": statistics of the batch always; "moving": moving statistics outside of training.
        workers: of a training, whose batch they share; None for a graph that is not for training.
    """
    layers = _Layers(seed, batch_norm, workers)
    architecture = ARCHITECTURES[model_def]
    first = layers.convolve(images, architecture.channels[0], 7, 2)
    hidden = tf.nn.relu(layers.normalise(first))
    stages = [hidden]
    for stage, (blocks, channels) in enumerate(zip(architecture.blocks, architecture.channels)):
        for block in range(blocks):
            hidden = _basic_block(layers, hidden, channels, 2 if stage and not block else 1)
        stages.append(hidden)
    return Outputs(tf.reduce_mean(hidden, axis=[1, 2]), first, stages, layers.updates)


def _basic_block(layers: _Layers, inputs: tf.Tensor, channels: int, stride: int) -> tf.Tensor:
    hidden = tf.nn.relu(layers.normalise(layers.convolve(inputs, channels, 3, stride)))
    hidden = layers.normalise(layers.convolve(hidden, channels, 3, 1))
    shortcut = inputs
    if stride != 1 or int(inputs.shape[-1]) != channels:
        shortcut = layers.normalise(layers.convolve(inputs, channels, 1, stride))
    return tf.nn.relu(hidden + shortcut)


class _Layers:
    """Convolutions and batch normalisations, numbered in the order of their creation."""

    def __init__(self, seed: int, batch_norm: str, workers: Workers | None):
        is_training = workers is not None
        self._seed, self._workers = seed, workers
        self._use_batch_statistics = is_training or batch_norm == "batch"
        self._move_statistics = is_training and batch_norm == "moving"
        self._numbers = itertools.count()  # of the convolutions
        self.updates: list = []

    def convolve(self, inputs: tf.Tensor, filters: int, size: int, stride: int) -> tf.Tensor:
        """Convolve with SAME padding and add a bias; variables conv2d_k/{kernel,bias}."""
        number = next(self._numbers)
        self._suffix = f"_{number}" if number else ""
        scope = f"conv2d{self._suffix}"
        with tf.variable_scope(scope):
            initializer = tf.glorot_uniform_initializer(seed=op_seed(f"{scope}/kernel", self._seed))
            kernel = tf.get_variable("kernel", [size, size, int(inputs.shape[-1]), filters], initializer=initializer)
            bias = tf.get_variable("bias", [filters], initializer=tf.zeros_initializer())
            convolved = tf.nn.conv2d(inputs, kernel, strides=[1, stride, stride, 1], padding="SAME")
            return tf.nn.bias_add(convolved, bias)

    def normalise(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalise the newest convolution; variables batch_normalization_k/{gamma,beta,moving_mean,moving_variance}.

        The batch is normalised by its biased variance; the moving variance uses the unbiased one, as in tf.layers.
        """
        shape = [int(inputs.shape[-1])]
        with tf.variable_scope(f"batch_normalization{self._suffix}"):
            gamma = tf.get_variable("gamma", shape, initializer=tf.ones_initializer())
            beta = tf.get_variable("beta", shape, initializer=tf.zeros_initializer())
            mean = tf.get_variable("moving_mean", shape, initializer=tf.zeros_initializer(), trainable=False)
            variance = tf.get_variable("moving_variance", shape, initializer=tf.ones_initializer(), trainable=False)
            if not self._use_batch_statistics:
                return tf.nn.fused_batch_norm(inputs, gamma, beta, mean, variance, BN_EPSILON, is_training=False)[0]
            if self._workers and self._workers.rank.size > 1:
                normalise = functools.partial(_normalise_over_workers, self._workers)
            else:
                normalise = functools.partial(tf.nn.fused_batch_norm, epsilon=BN_EPSILON)
            normalised, batch_mean, batch_variance = normalise(inputs, gamma, beta)
            if self._move_statistics:
                self.updates += [old.assign_sub((old - new) * (1.0 - BN_MOMENTUM))
                                 for old, new in ((mean, batch_mean), (variance, batch_variance))]
            return normalised


def _normalise_over_workers(workers: Workers, inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> tuple:
    """`tf.nn.fused_batch_norm` with the statistics of the whole batch, of which `inputs` is this worker's part."""
    num = workers.num_samples * int(inputs.shape[1]) * int(inputs.shape[2])
    mean = workers.total(tf.reduce_sum(inputs, [0, 1, 2])) / num
    variance = workers.total(tf.reduce_sum(tf.square(inputs - mean), [0, 1, 2])) / num
    normalised = tf.nn.batch_normalization(inputs, mean, variance, beta, gamma, BN_EPSILON)
    return normalised, mean, variance * (num / (num - 1))
