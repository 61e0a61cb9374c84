"""The embedding network: a partly frozen backbone and a head of three dense layers.

ResNet50 (He et al. 2016, arXiv 1512.03385) is frozen up to `conv5_block1_out`; conv5_block2, conv5_block3 and the head
are trained. With training=False, which the original uses in training too, batch normalisation uses its moving
statistics. With training=True the trainable layers use the statistics of the batch; the frozen ones never do.

The output of the frozen part, the features, depends on the image alone and can be kept. The tail computes embeddings
from features with the same layers.
"""
from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from common.keras.session import tf
from common.seeds import op_seed

SIDE = 200  # height and width of the images, in pixels
EMBEDDING_DIM = 256
LAST_FROZEN = "conv5_block1_out"
FEATURE_SHAPES = {"resnet50": (7, 7, 2048), "tiny": (13, 13, 16)}
FLAT_SIZES = {"resnet50": 7 * 7 * 2048, "tiny": 7 * 7 * 16}  # number of rows of dense/kernel

layers = tf.keras.layers


class Embedding(NamedTuple):
    """The network and its two parts, as Keras models with shared layers."""

    whole: Any  # preprocessed images float32 [batch, 200, 200, 3] to embeddings float32 [batch, 256]
    frozen: Any  # images to features float32 [batch, *FEATURE_SHAPES[backbone]]
    tail: Any  # features to embeddings


def build_embedding(backbone: str, seed: int) -> Embedding:
    """Build the network with random weights. Order and names of the variables are those of the original.

    Args:
        backbone: "resnet50", or "tiny", three small convolutions for smoke tests.
        seed: seed of the weights.
    """
    base = _tiny() if backbone == "tiny" else tf.keras.applications.ResNet50(
        weights=None, include_top=False, input_shape=(SIDE, SIDE, 3))
    num_frozen = [layer.name for layer in base.layers].index(LAST_FROZEN) + 1
    for layer in base.layers[:num_frozen]:
        layer.trainable = False
    last_frozen, head = base.layers[num_frozen - 1].output, _head_layers()
    whole = tf.keras.Model(base.input, functools.reduce(_apply, head, base.output), name="embedding")
    frozen = tf.keras.Model(base.input, last_frozen, name="frozen")
    features = layers.Input(FEATURE_SHAPES[backbone], name="features")
    in_tail = {id(last_frozen): features}  # tensors of the tail by those of the base
    for layer in base.layers[num_frozen:]:
        inputs, output = tf.nest.map_structure(lambda tensor: in_tail[id(tensor)], layer.input), layer.output
        in_tail[id(output)] = layer(inputs)
    tail = tf.keras.Model(features, functools.reduce(_apply, head, in_tail[id(base.output)]), name="tail")
    for name, variable in zip(variable_names(whole), whole.weights):
        if name.endswith("/kernel"):
            variable.assign(tf.keras.initializers.GlorotUniform(seed=op_seed(name, seed))(variable.shape))
    return Embedding(whole, frozen, tail)


class _Unchanged(layers.Layer):
    """Returns its input."""

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: None = None) -> tf.Tensor:
        return inputs


def folded(frozen: Any) -> Any:
    """Return a copy of the frozen part whose convolutions include the batch normalisation after them, for speed.

    gamma * (kernel * x + bias - mean) / sqrt(variance + epsilon) + beta is a convolution with another kernel and bias
    (Jacob et al. 2018, arXiv 1712.05877, section 3.2). Only rounding differs. Later changes of the weights have no
    effect on the copy.
    """
    def copy(layer: Any) -> Any:
        config = layer.get_config()
        if isinstance(layer, layers.BatchNormalization):
            return _Unchanged.from_config(dict(name=config["name"], dtype=config["dtype"]))
        return type(layer).from_config(config)

    result = tf.keras.models.clone_model(frozen, clone_function=copy)
    normalisations = {layer.name: layer for layer in frozen.layers if isinstance(layer, layers.BatchNormalization)}
    for layer in frozen.layers:
        if isinstance(layer, layers.Conv2D):
            kernel, bias = layer.get_weights()
            normalisation = normalisations.get(layer.name.replace("_conv", "_bn"))
            if normalisation:
                gamma, beta, mean, variance = normalisation.get_weights()
                scale = gamma / np.sqrt(variance + normalisation.epsilon)
                kernel, bias = kernel * scale, (bias - mean) * scale + beta
            result.get_layer(layer.name).set_weights([kernel, bias])
    return result


def variable_names(model: Any) -> list[str]:
    """Return the names `layer/variable` of the variables of a model, in its order."""
    return [f"{layer.name}/{variable.name.split('/')[-1].split(':')[0]}"
            for layer in model.layers for variable in layer.weights]


def trainable_names(model: Embedding) -> list[str]:
    """Return the names of the trainable variables, in the order of `model.tail.trainable_variables`."""
    return [name for name, variable in zip(variable_names(model.tail), model.tail.weights) if variable.trainable]


def _tiny() -> Any:
    images = layers.Input((SIDE, SIDE, 3))
    # "valid" equals "same" here, and the XNNPACK of TensorFlow 2.21 returns zeros for "same" where rows are left over
    hidden = layers.Conv2D(8, 3, 4, padding="valid", activation="relu", name="conv1_conv")(images)
    hidden = layers.Conv2D(16, 3, 4, padding="same", activation="relu", name=LAST_FROZEN)(hidden)
    hidden = layers.Conv2D(16, 3, 2, padding="same", name="conv5_block2_1_conv")(hidden)
    hidden = layers.BatchNormalization(name="conv5_block2_1_bn")(hidden)
    return tf.keras.Model(images, hidden)


def _head_layers() -> list[Any]:
    return [
        layers.Flatten(name="flatten"),
        layers.Dense(512, activation="relu", name="dense"),
        layers.BatchNormalization(name="batch_normalization"),
        layers.Dense(256, activation="relu", name="dense_1"),
        layers.BatchNormalization(name="batch_normalization_1"),
        layers.Dense(EMBEDDING_DIM, name="dense_2"),
    ]


def _apply(inputs: Any, layer: Any) -> Any:
    return layer(inputs)
