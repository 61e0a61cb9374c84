"""The two branches of SA-Siam (arXiv 1802.08817, sections 3.1 to 3.3), from images to feature maps.

Both are AlexNet-like trunks of five VALID convolutions with a total stride of 8. A branch's features are one or two
maps; the response is the sum of their cross-correlations. Variables have the original's names. NHWC. Weights are
initialised as the caller's variable scope says.
"""
from __future__ import annotations

from typing import Callable, Tuple

from common.graph.compat import tf
from sa_siam_tf1.configuration import KERNELS

# The original asks for 1e-6, which the fused op raises to this.
BN_EPSILON = 1.001e-5
EXEMPLAR_CELLS = 6
HEAD_CHANNELS = 128
SEMANTIC_MEAN = (123.0, 117.0, 104.0)  # of R, G, B; the trunk was trained on BGR
SEMANTIC_SCALES = (0.1, 1.0)  # of conv4 and conv5 before their heads

Features = Tuple[tf.Tensor, ...]  # maps of one branch, float32 [batch, side, side, channels]


class Normaliser:
    """Batch normalisation of the appearance branch; collects the statistics of its batches.

    In training a batch is normalised by its own mean and biased variance; the moving variance uses the unbiased one.
    """

    def __init__(self, is_training: bool):
        self.is_training = is_training
        self.statistics: list[tuple[tf.Variable, tf.Tensor]] = []  # (moving value, the batch's)

    def __call__(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalise float32 [batch, height, width, channels]."""
        with tf.variable_scope("BatchNorm"):
            beta, gamma, moving_mean, moving_variance = (
                tf.get_variable(name, [int(inputs.shape[-1])], initializer=initial(), trainable=trainable)
                for name, initial, trainable in (
                    ("beta", tf.zeros_initializer, True), ("gamma", tf.ones_initializer, True),
                    ("moving_mean", tf.zeros_initializer, False), ("moving_variance", tf.ones_initializer, False)))
        if not self.is_training:
            return tf.nn.fused_batch_norm(inputs, gamma, beta, moving_mean, moving_variance, epsilon=BN_EPSILON,
                                          is_training=False)[0]
        outputs, mean, variance = tf.nn.fused_batch_norm(inputs, gamma, beta, epsilon=BN_EPSILON, is_training=True)
        self.statistics += [(moving_mean, mean), (moving_variance, variance)]
        return outputs


def appearance(images: tf.Tensor, normaliser: Normaliser, is_exemplar: bool, dtype: tf.DType = tf.float32) -> Features:
    """Compute the features of the appearance branch: conv5, one map of 256 channels.

    Args:
        images: float32 [batch, side, side, 3], RGB, 0 to 255.
        normaliser: of this tower.
        is_exemplar: return only the 6 x 6 cells in the middle. Batch statistics need all of conv1 to conv4; of conv5
            only these cells are computed.
        dtype: that convolutions compute in.
    """
    with tf.variable_scope("sa_siam/appearance_net"):
        def block(inputs: tf.Tensor, name: str) -> tf.Tensor:
            return _convolve(inputs, name, lambda outputs: tf.nn.relu(normaliser(outputs)), dtype=dtype)

        hidden = _conv4(images, block)
        if is_exemplar:
            hidden = crop(hidden, EXEMPLAR_CELLS + KERNELS["conv5"][0] - 1)
        return (_convolve(hidden, "conv5", _add_bias, dtype=dtype),)


def semantic(images: tf.Tensor, is_exemplar: bool, dtype: tf.DType = tf.float32) -> Features:
    """Compute the features of the semantic branch: 1 x 1 convolutions of conv4 and conv5 of a frozen CaffeNet.

    They are two maps of 128 channels. For an exemplar, channel attention looks at the target and its surroundings
    (section 3.3); then the middle is cropped: 8 x 8 cells of conv4, 6 x 6 of conv5. Arguments as those of `appearance`.
    """
    with tf.variable_scope("sa_siam/semantic_net"):
        def block(inputs: tf.Tensor, name: str) -> tf.Tensor:
            return _convolve(inputs, name, lambda outputs: tf.nn.relu(_add_bias(outputs, trainable=False)),
                             trainable=False, dtype=dtype)

        conv4 = _conv4(tf.reverse(images - tf.constant(SEMANTIC_MEAN), [3]), block, _normalise_responses)
        conv5 = block(conv4, "conv5")
        maps = [conv4, conv5]
        if is_exemplar:
            wider = int(conv4.shape[1]) - int(conv5.shape[1])
            sides = (EXEMPLAR_CELLS + wider, EXEMPLAR_CELLS)
            maps = [_attend(one, side, name) for one, side, name in zip(maps, sides, ("conv4", "conv5"))]
        heads = []
        for one, scale, name in zip(maps, SEMANTIC_SCALES, ("conv4", "conv5")):
            with tf.variable_scope(f"c1x1_{name}"):
                heads.append(_add_bias(_filter(scale * one, 1, HEAD_CHANNELS, dtype=dtype)))
        return tuple(heads)


def correlate(exemplar: Features, instance: Features) -> tf.Tensor:
    """Cross-correlate each sample's instance with its exemplar, VALID, and add up the maps (equation 1).

    Maps [batch, k, k, channels] and [batch, n, n, channels], with the same n - k for all, give float32
    [batch, n - k + 1, n - k + 1]. One matrix multiplication per sample gives the products of all pairs of cells; a
    convolution with ones and zeros sums those of one offset. There is no loop over samples, so the batch size may be
    unknown.
    """
    total = []
    for z, x in zip(exemplar, instance):
        batch, cells = tf.shape(x)[0], int(z.shape[1])
        side, channels = int(x.shape[1]), int(x.shape[3])
        products = tf.matmul(tf.reshape(x, [batch, side * side, channels]),
                             tf.reshape(z, [batch, cells * cells, channels]), transpose_b=True)
        products = tf.reshape(products, [batch, side, side, cells * cells])
        taps = tf.reshape(tf.eye(cells * cells), [cells, cells, cells * cells, 1])  # (i, j): channel i * cells + j
        total.append(tf.nn.conv2d(products, taps, strides=[1, 1, 1, 1], padding="VALID")[..., 0])
    return tf.add_n(total)


def crop_start(side: int, cells: int) -> int:
    """Return the first of the middle `cells` among `side` cells."""
    return int((side - cells) / 2 + 0.5)


def crop(maps: tf.Tensor, cells: int) -> tf.Tensor:
    """Crop the middle of square maps."""
    start = crop_start(int(maps.shape[1]), cells)
    return maps[:, start:start + cells, start:start + cells]


def weight_variables() -> list[tf.Variable]:
    """Return the variables of weight decay: weights of convolutions, frozen ones too, in the order of creation."""
    return [variable for variable in tf.global_variables()
            if variable.op.name.endswith("/weights") and "/att_fc" not in variable.op.name]


def _conv4(images: tf.Tensor, block: Callable, normalise: Callable = lambda maps: maps) -> tf.Tensor:
    """Compute conv4 of a trunk; `block` applies a layer with what follows it, `normalise` what follows the pooling."""
    hidden = normalise(_pool(block(images, "conv1")))
    hidden = normalise(_pool(block(hidden, "conv2")))
    return block(block(hidden, "conv3"), "conv4")


def _convolve(inputs: tf.Tensor, name: str, after: Callable[[tf.Tensor], tf.Tensor], trainable: bool = True,
              dtype: tf.DType = tf.float32) -> tf.Tensor:
    """Apply a layer; one of two groups has a kernel b1 for the first half of the channels and b2 for the second.

    They are two convolutions: a grouped op of TensorFlow 2.21 takes as long on CPUs (66 against 65 ms for conv2 of a
    frame), has no gradient there, and 1.15 lacks it.
    """
    side, _, depth, channels = KERNELS[name]
    stride, groups = 2 if name == "conv1" else 1, int(inputs.shape[-1]) // depth
    with tf.variable_scope(name):
        if groups == 1:
            return after(_filter(inputs, side, channels, stride, trainable, dtype))
        outputs = []
        for number, part in enumerate(tf.split(inputs, groups, axis=3), 1):
            with tf.variable_scope(f"b{number}"):
                outputs.append(after(_filter(part, side, channels // groups, stride, trainable, dtype)))
        return tf.concat(outputs, axis=3)


def _filter(inputs: tf.Tensor, side: int, channels: int, stride: int = 1, trainable: bool = True,
            dtype: tf.DType = tf.float32) -> tf.Tensor:
    """Convolve, VALID; inputs and outputs are float32, whatever the convolution computes in."""
    weights = tf.get_variable("weights", [side, side, int(inputs.shape[-1]), channels], trainable=trainable)
    return tf.cast(tf.nn.conv2d(tf.cast(inputs, dtype), tf.cast(weights, dtype), padding="VALID",
                                strides=[1, stride, stride, 1]), tf.float32)


def _add_bias(inputs: tf.Tensor, trainable: bool = True) -> tf.Tensor:
    biases = tf.get_variable("biases", [int(inputs.shape[-1])], initializer=tf.zeros_initializer(),
                             trainable=trainable)
    return tf.nn.bias_add(inputs, biases)


def _pool(inputs: tf.Tensor) -> tf.Tensor:
    return tf.nn.max_pool2d(inputs, ksize=3, strides=2, padding="VALID")


def _normalise_responses(inputs: tf.Tensor) -> tf.Tensor:
    """Compute x / (1 + 2e-5 * sum over five neighbouring channels of x^2)^0.75."""
    return tf.nn.local_response_normalization(inputs, depth_radius=2, bias=1.0, alpha=2e-5, beta=0.75)


def _attend(maps: tf.Tensor, cells: int, name: str) -> tf.Tensor:
    """Weight channels by their maxima in the middle and in the eight fields around it, then crop the middle.

    Maps are float32 [batch, side, side, channels]; the middle has cells x cells. Variables are named after the layer.
    """
    side, start = int(maps.shape[1]), crop_start(int(maps.shape[1]), cells)
    edges = [0, start, start + cells, side]
    spans = list(zip(edges, edges[1:]))
    maxima = tf.stack([tf.reduce_max(maps[:, top:bottom, left:right], axis=[1, 2]) for top, bottom in spans
                       for left, right in spans], axis=2)  # [batch, channels, 9]
    channels = int(maps.shape[3])
    hidden = tf.nn.relu(_fully_connected(tf.reshape(maxima, [-1, 9]), 9, f"att_fc1_{name}"))
    scores = _fully_connected(hidden, 1, f"att_fc2_{name}")
    weights = tf.sigmoid(tf.reshape(scores, [-1, 1, 1, channels])) + 0.5
    return crop(maps, cells) * weights


def _fully_connected(inputs: tf.Tensor, units: int, scope: str) -> tf.Tensor:
    with tf.variable_scope(scope):
        return _add_bias(tf.matmul(inputs, tf.get_variable("weights", [int(inputs.shape[-1]), units])))
