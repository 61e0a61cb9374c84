"""The convolutions of Circle loss's resnet34 as plain TensorFlow ops: the practical limit of a training step."""
from __future__ import annotations

from typing import Iterator

from common.graph.compat import tf

STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))  # blocks, channels
IMAGE_SIDE = 112


def training_step(batch_size: int) -> list[tf.Operation]:
    """Return ops that run the 36 convolutions with ReLU and shortcuts forward and backward, from data that is already
    there; no bias, batch normalisation, loss, optimiser, averages or feeding.

    They are to be run as they are: TensorFlow drops ops that are only waited for.
    """
    kernels: list = []

    def convolve(inputs: tf.Tensor, filters: int, size: int, stride: int) -> tf.Tensor:
        kernel = tf.get_variable(f"kernel{len(kernels)}", [size, size, int(inputs.shape[-1]), filters])
        kernels.append(kernel)
        return tf.nn.conv2d(inputs, kernel, strides=[1, stride, stride, 1], padding="SAME")

    with tf.variable_scope("bare"):
        images = tf.get_variable("images", [batch_size, IMAGE_SIDE, IMAGE_SIDE, 3], trainable=False)
        hidden = tf.nn.relu(convolve(images, STAGES[0][1], 7, 2))
        for stage, (blocks, channels) in enumerate(STAGES):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                inner = convolve(tf.nn.relu(convolve(hidden, channels, 3, stride)), channels, 3, 1)
                shortcut = convolve(hidden, channels, 1, stride) if stride == 2 else hidden
                hidden = tf.nn.relu(inner + shortcut)
        return [gradient.op for gradient in tf.gradients(tf.reduce_sum(hidden), kernels)]


def step_flops(batch_size: int) -> float:
    """Floating-point operations of the convolutions of a step, forward and backward, a multiply-add counted as two."""
    forward = sum(2.0 * batch_size * side * side * size * size * inputs * outputs
                  for side, size, inputs, outputs in _convolutions())
    images = 2.0 * batch_size * (IMAGE_SIDE // 2) ** 2 * 49 * 3 * STAGES[0][1]
    return 3.0 * forward - images  # the images themselves need no gradient


def _convolutions() -> Iterator[tuple[int, int, int, int]]:
    """Side of the output, side of the kernel, channels in and out."""
    side, inputs = IMAGE_SIDE // 2, STAGES[0][1]
    yield side, 7, 3, inputs
    for stage, (blocks, channels) in enumerate(STAGES):
        side = side // 2 if stage else side
        for block in range(blocks):
            yield side, 3, inputs, channels
            yield side, 3, channels, channels
            if stage and not block:
                yield side, 1, inputs, channels
            inputs = channels
