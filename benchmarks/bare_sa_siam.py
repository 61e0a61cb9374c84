"""The convolutions of SA-Siam as plain TensorFlow ops: the practical limit of a frame and of a training step."""
from __future__ import annotations

from common.graph.compat import tf

LAYERS = (("conv1", 11, 2, 96, 1), ("conv2", 5, 1, 256, 2), ("conv3", 3, 1, 384, 1), ("conv4", 3, 1, 384, 2),
          ("conv5", 3, 1, 256, 2))  # name, side of the kernel, stride, channels, groups
POOLED = ("conv1", "conv2")
HEADS = ("conv4", "conv5")  # what the semantic branch fuses, by 1 x 1 convolutions
HEAD_CHANNELS = 128


def frame(num_scales: int, side: int) -> list[tf.Operation]:
    """Return ops that embed the windows of a frame in both branches, from images that are already there: convolution,
    bias, ReLU and pooling alone.
    """
    with tf.variable_scope("bare_frame"):
        images = _images("images", num_scales, side)
        maps = _trunk(images, "appearance")
        return [maps["conv5"].op] + [head.op for head in _heads(_trunk(images, "semantic"))]


def training_step(branch: str, batch_size: int, side: int) -> list[tf.Operation]:
    """Return ops that take the images of a step through a branch, forward and, as far as it is trained, backward; no
    batch normalisation, attention, correlation, loss, optimizer or feeding.

    They are to be run as they are: TensorFlow drops ops that are only waited for.
    """
    with tf.variable_scope(f"bare_{branch}"):
        sums = []
        for tower in ("exemplars", "instances"):
            maps = _trunk(_images(tower, batch_size, side), branch)
            sums += [tf.reduce_sum(found) for found in ([maps["conv5"]] if branch == "appearance" else _heads(maps))]
        trained = "bare_" + branch + ("/head" if branch == "semantic" else "/trunk")
        kernels = [kernel for kernel in tf.trainable_variables() if kernel.op.name.startswith(trained)]
        total = tf.add_n(sums)
        # the total as well: the gradients of the heads do not need their outputs, so TensorFlow would not compute them
        return [total.op, *(gradient.op for gradient in tf.gradients(total, kernels))]


def embedding_flops(side: int) -> float:
    """Floating-point operations of one image's convolutions in both branches, a multiply-add counted as two."""
    total, channels_in = 0.0, 3
    for name, kernel, stride, channels, groups in LAYERS:
        side = (side - kernel) // stride + 1
        total += 2 * 2.0 * side * side * kernel ** 2 * channels_in / groups * channels
        if name in HEADS:
            total += 2.0 * side * side * channels * HEAD_CHANNELS
        side, channels_in = (side - 3) // 2 + 1 if name in POOLED else side, channels
    return total


def _images(name: str, num: int, side: int) -> tf.Variable:
    return tf.get_variable(name, [num, side, side, 3], trainable=False)


def _trunk(hidden: tf.Tensor, branch: str) -> dict[str, tf.Tensor]:
    maps = {}
    with tf.variable_scope("trunk_" + branch, reuse=tf.AUTO_REUSE):
        for name, kernel, stride, channels, groups in LAYERS:
            parts = [_convolve(part, f"{name}_{number}", kernel, stride, channels // groups)
                     for number, part in enumerate(tf.split(hidden, groups, axis=3))]
            hidden = tf.nn.relu(tf.concat(parts, axis=3) if groups > 1 else parts[0])
            maps[name] = hidden
            if name in POOLED:
                hidden = tf.nn.max_pool2d(hidden, 3, 2, "VALID")
    return maps


def _heads(maps: dict[str, tf.Tensor]) -> list[tf.Tensor]:
    with tf.variable_scope("head", reuse=tf.AUTO_REUSE):
        return [_convolve(maps[name], name, 1, 1, HEAD_CHANNELS) for name in HEADS]


def _convolve(inputs: tf.Tensor, name: str, kernel: int, stride: int, channels: int) -> tf.Tensor:
    weights = tf.get_variable(name, [kernel, kernel, int(inputs.shape[-1]), channels])
    convolved = tf.nn.conv2d(inputs, weights, strides=[1, stride, stride, 1], padding="VALID")
    return tf.nn.bias_add(convolved, tf.get_variable(name + "_bias", [channels]))
