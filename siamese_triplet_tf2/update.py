"""One update of the weights, from features."""
from __future__ import annotations

from typing import Any

import tensorflow as tf

from common import keras_versions
from siamese_triplet_tf2 import embedding, triplet_loss


class Update:
    """Makes updates; call it through tf.function."""

    def __init__(self, model: embedding.Embedding, optimizer: Any, batch_statistics: bool = False,
                 semi_hard: bool = False):
        """Say how.

        Args:
            model: the network.
            optimizer: a Keras optimizer.
            batch_statistics: normalise what trains with the statistics of the batch, of each tower its own.
            semi_hard: choose the negatives within the batch.
        """
        self._model, self._optimizer = model, optimizer
        self._batch_statistics, self._semi_hard = batch_statistics, semi_hard

    def __call__(self, kept: tf.Tensor, excluded: tf.Tensor, dumps: bool = False
                 ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Make one update.

        Args:
            kept: features of anchors, positives and negatives, float32 [3 * batch, ...].
            excluded: bool [batch, 2 * batch], positives and negatives that are no negatives of an anchor.
            dumps: whether tensors are asked for.

        Returns:
            The losses, float32 [batch], and tensors by name.
        """
        with tf.GradientTape() as tape:
            anchor, positive, negative = self._embed_towers(kept)
            measured = triplet_loss.distances(anchor, positive, negative)
            if self._semi_hard:
                candidates = tf.concat([positive, negative], 0)
                chosen = triplet_loss.semi_hard_negatives(
                    tf.stop_gradient(anchor), tf.stop_gradient(candidates), measured.positive, excluded)
                measured = triplet_loss.distances(anchor, positive, tf.gather(candidates, chosen))
            losses = triplet_loss.triplet_loss(measured)
            # the sum, as the original differentiates it; the mean is what is reported
            total = keras_versions.scale_loss(self._optimizer, tf.reduce_sum(losses))
        variables = self._model.tail.trainable_variables
        gradients = keras_versions.unscale(self._optimizer, tape.gradient(total, variables))
        self._optimizer.apply_gradients(zip(gradients, variables))
        if not dumps:
            return losses, {}
        names = embedding.names_of_trained(self._model)
        return losses, dict(features=kept, anchor=anchor, positive=positive, negative=negative, losses=losses,
                            **{f"gradient/{name}": gradient for name, gradient in zip(names, gradients)})

    def _embed_towers(self, kept: tf.Tensor) -> list[tf.Tensor]:
        if self._batch_statistics:
            return [tf.cast(self._model.tail(tower, training=True), tf.float32) for tower in tf.split(kept, 3)]
        # one forward pass: exact, since no image sees another
        return tf.split(tf.cast(self._model.tail(kept, training=False), tf.float32), 3)
