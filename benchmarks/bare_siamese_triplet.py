"""The convolutions and matrix products of the triplet network as plain ops: the practical limit of its steps."""
from __future__ import annotations

from typing import Any, Callable

import numpy as np

from common.keras.session import tf


def forward(model: Any, num: int) -> tuple[Callable[[], tf.Tensor], float]:
    """Return a function that runs every convolution of a Keras model once, and its floating-point operations.

    Each has an input of its own that is already there; no bias, normalisation or activation.

    Args:
        model: with layers of Conv2D and Dense.
        num: images in a batch.
    """
    calls, flops = _calls(model, num)

    @tf.function
    def run() -> tf.Tensor:
        return tf.add_n([tf.reduce_max(call(inputs, kernel)) for call, inputs, kernel in calls])

    return run, flops


def forward_and_backward(model: Any, num: int) -> tuple[Callable[[], tf.Tensor], float]:
    """`forward` with the gradients of kernels and inputs."""
    calls, flops = _calls(model, num)

    @tf.function
    def run() -> tf.Tensor:
        parts = []
        for call, inputs, kernel in calls:
            with tf.GradientTape() as tape:
                tape.watch([inputs, kernel])
                result = call(inputs, kernel)
            # the result as well: its gradient does not need it, so TensorFlow would not compute it
            parts += [tf.reduce_max(part) for part in (result, *tape.gradient(result, [inputs, kernel]))]
        return tf.add_n(parts)

    return run, 3.0 * flops


def _calls(model: Any, num: int) -> tuple[list[tuple], float]:
    calls, flops = [], 0.0
    for layer in model.layers:
        if not hasattr(layer, "kernel"):
            continue
        kernel = tf.constant(np.asarray(layer.kernel))
        inputs = tf.ones([num, *layer.input.shape[1:]])
        if len(kernel.shape) == 2:
            calls.append((tf.matmul, inputs, kernel))
            flops += 2.0 * num * np.prod(kernel.shape)
        else:
            strides, padding = layer.strides, layer.padding.upper()
            calls.append((lambda x, w, s=strides, p=padding: tf.nn.conv2d(x, w, s, p), inputs, kernel))
            flops += 2.0 * num * np.prod(layer.output.shape[1:3]) * np.prod(kernel.shape)
    return calls, float(flops)
