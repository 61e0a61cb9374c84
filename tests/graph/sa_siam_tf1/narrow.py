"""A network of 16 channels in every layer, for tests of what is around the network."""
from __future__ import annotations

import contextlib

from sa_siam_tf1 import pretrained
from sa_siam_tf1.embeddings import sa_siam

CHANNELS = 16


def make_narrow():
    """Replace the layers of both branches; return what they were."""
    before = sa_siam.TRUNK, pretrained.KERNELS
    layers, inputs, kernels = tuple(layer._replace(channels=CHANNELS) for layer in sa_siam.TRUNK), 3, {}
    for layer in layers:
        kernels[layer.name] = (layer.kernel, layer.kernel, inputs // layer.groups, CHANNELS)
        inputs = CHANNELS
    _use(layers, kernels)
    return before


def _use(layers, kernels):
    sa_siam.CONV1, sa_siam.CONV2, sa_siam.CONV3, sa_siam.CONV4, sa_siam.CONV5 = sa_siam.TRUNK = layers
    pretrained.KERNELS = kernels


@contextlib.contextmanager
def narrow_network():
    """Use the narrow network for a while."""
    before = make_narrow()
    yield
    _use(*before)
