"""The network: three stages of two convolutions, a 2-D feature, ten logits."""
from __future__ import annotations

from typing import NamedTuple

from common.graph.compat import tf
from gitloss_tf1 import layers
from gitloss_tf1.mnist import NUM_CLASSES, SIDE

FEATURE_DIM = 2
IMAGE_SHAPE = (SIDE, SIDE, 1)
STAGE_CHANNELS = (32, 64, 128)


class Outputs(NamedTuple):
    """What the network gives for a batch."""

    features: tf.Tensor  # float32 [batch, 2], before the PReLU: what the git loss and the plots use
    logits: tf.Tensor  # float32 [batch, 10]


def network(images: tf.Tensor, seed: int) -> Outputs:
    """Build the network, or use the variables again in a scope that reuses.

    Args:
        images: float32 [batch, 28, 28, 1], in [0, 1] minus the mean image.
        seed: the run's seed, for the initial weights.
    """
    hidden = images
    for stage, channels in enumerate(STAGE_CHANNELS, 1):
        for layer in (1, 2):
            hidden = layers.conv2d(hidden, channels, 3, f"conv{stage}_{layer}", seed, tf.nn.relu)
        hidden = layers.max_pool(hidden, 2)  # 28 -> 14 -> 7 -> 3
    features = layers.dense(layers.flatten(hidden), FEATURE_DIM, "fc1", seed)
    logits = layers.dense(layers.prelu(features, "PReLU"), NUM_CLASSES, "fc2", seed)
    return Outputs(features, logits)
