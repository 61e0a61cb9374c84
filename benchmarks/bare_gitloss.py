"""The convolutions of Git loss as plain TensorFlow ops: the practical limit of a training step."""
from __future__ import annotations

from common.graph.compat import tf

STAGE_CHANNELS = (32, 64, 128)
IMAGE_SIDE = 28


def training_step(batch_size: int) -> list[tf.Operation]:
    """Return ops that run the six convolutions with bias, ReLU and pooling forward and backward, from data that is
    already there; no loss, no optimiser, no centers, no feeding.

    They are to be run as they are: TensorFlow drops ops that are only waited for.
    """
    with tf.variable_scope("bare"):
        hidden = tf.get_variable("images", [batch_size, IMAGE_SIDE, IMAGE_SIDE, 1], trainable=False)
        kernels, channels_in = [], 1
        for stage, channels in enumerate(STAGE_CHANNELS):
            for layer in (0, 1):
                kernel = tf.get_variable(f"kernel{stage}{layer}", [3, 3, channels_in, channels])
                bias = tf.get_variable(f"bias{stage}{layer}", [channels])
                kernels += [kernel, bias]
                convolved = tf.nn.conv2d(hidden, kernel, strides=[1, 1, 1, 1], padding="SAME")
                hidden = tf.nn.relu(tf.nn.bias_add(convolved, bias))
                channels_in = channels
            hidden = tf.nn.max_pool2d(hidden, 2, 2, "VALID")
        return [gradient.op for gradient in tf.gradients(tf.reduce_sum(hidden), kernels)]


def step_flops(batch_size: int) -> float:
    """Floating-point operations of the convolutions of a step, forward and backward, a multiply-add counted as two."""
    total, side, channels_in = 0.0, IMAGE_SIDE, 1
    for channels in STAGE_CHANNELS:
        for inputs in (channels_in, channels):
            forward = 2.0 * batch_size * side * side * 9 * inputs * channels
            total += forward * (2 if inputs == 1 else 3)  # the images themselves need no gradient
        channels_in, side = channels, side // 2
    return total
