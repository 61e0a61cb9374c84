"""The convolutions of the Siamese network as plain TensorFlow ops: the practical limit of a training step."""
from __future__ import annotations

from typing import Callable

from common.keras.session import tf

SIDE = 105
VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)  # channels; 0 is a pooling
CONV4 = (64, 0, 64, 0, 64, 0, 64, 0)


def training_step(backbone: str, num_images: int) -> Callable[[], tf.Tensor]:
    """Return a function that runs the tower's convolutions with bias, ReLU and pooling forward and backward, on images
    that are already there; no head, no loss, no optimizer, no feeding.
    """
    layers, images = _tower(backbone, num_images)
    kernels, channels_in = [], int(images.shape[-1])
    for channels in filter(None, layers):
        kernels += [tf.Variable(tf.random.normal((3, 3, channels_in, channels), stddev=0.05)),
                    tf.Variable(tf.zeros(channels))]
        channels_in = channels

    def step() -> tf.Tensor:
        left = iter(kernels)
        with tf.GradientTape() as tape:
            hidden = images
            for channels in layers:
                if channels:
                    convolved = tf.nn.conv2d(hidden, next(left), 1, "SAME")
                    hidden = tf.nn.relu(tf.nn.bias_add(convolved, next(left)))
                else:
                    hidden = tf.nn.max_pool2d(hidden, 2, 2, "VALID")
            total = tf.reduce_sum(hidden)
        # a sum over each gradient, so that none of them can be left out
        return tf.add_n([tf.reduce_sum(gradient) for gradient in tape.gradient(total, kernels)])

    return tf.function(step, autograph=False)


def step_flops(backbone: str, num_images: int) -> float:
    """Floating-point operations of the convolutions of a step, forward and backward, a multiply-add counted as two."""
    layers, images = _tower(backbone, num_images)
    total, side, channels_in = 0.0, int(images.shape[1]), int(images.shape[-1])
    for place, channels in enumerate(layers):
        if channels:
            forward = 2.0 * num_images * side * side * 9 * channels_in * channels
            total += forward * (2 if place == 0 else 3)  # the images themselves need no gradient
            channels_in = channels
        else:
            side //= 2
    return total


def _tower(backbone: str, num_images: int) -> tuple:
    shape = (num_images, SIDE, SIDE, 3) if backbone == "vgg16" else (num_images, SIDE // 3, SIDE // 3, 1)
    return (VGG16 if backbone == "vgg16" else CONV4), tf.random.stateless_uniform(shape, [0, 0])
