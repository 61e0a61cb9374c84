"""One update of the weights from features, by one worker or several."""
from __future__ import annotations

from typing import Any, Callable, NamedTuple, Sequence

import numpy as np

from common.keras import session, workers
from common.keras.session import tf
from siamese_triplet_tf2 import triplet_loss
from siamese_triplet_tf2.model import Embedding, trainable_names


class Part(NamedTuple):
    """A worker's part of a batch."""

    kept: np.ndarray  # float32 [3 * size, ...], features of anchors, positives and negatives, or their int64 indices
    excluded: np.ndarray  # bool [size, 2 * size], images that cannot be a negative of an anchor
    counts: np.ndarray  # float32 [size], 1 for triplets, 0 for padding


class Updater:
    """Makes updates.

    A worker's loss is the sum over its triplets, and gradients are summed over the workers. The update is therefore
    that of one worker with the whole batch.
    """

    def __init__(self, model: Embedding, optimizer: Any, team: workers.Workers, batch_statistics: bool = False,
                 semi_hard: bool = False, gather: Callable[[tf.Tensor], tf.Tensor] | None = None):
        """Compile the update.

        Args:
            model: the network, built in the workers' scope.
            optimizer: a Keras optimizer, made in the workers' scope.
            team: the workers of the run.
            batch_statistics: normalise the trainable part with the statistics of the batch: of the anchors, the
                positives and the negatives separately.
            semi_hard: choose semi-hard negatives within the batch.
            gather: returns features on the device, for parts that hold indices.
        """
        self._gather = gather
        self._model, self._optimizer, self._team = model, optimizer, team
        self._batch_statistics, self._semi_hard = batch_statistics, semi_hard
        with team.scope():
            session.build_optimizer(optimizer, model.tail.trainable_variables)
        self._run = team.compile(self._update)
        self._run_several = team.compile(self._update_several)
        self._run_dumping = team.compile(lambda *part: self._update(*part, dumps=True))

    def __call__(self, part: Part, is_stopping: bool = False, dumps: bool = False
                 ) -> tuple[tuple[float, int], dict[str, tf.Tensor]]:
        """Make one update with this worker's part of the batch.

        Args:
            part: this worker's part.
            is_stopping: whether this worker was asked to stop.
            dumps: return the tensors for a dump.

        Returns:
            The sum of the losses of all workers and how many of them were asked to stop, and the tensors by name.
        """
        run = self._run_dumping if dumps else self._run
        sums, tensors = run(*map(tf.constant, part), tf.constant(float(is_stopping)))
        total, num_stopping = (float(value) for value in sums.numpy())
        return (total, round(num_stopping)), tensors

    def several(self, parts: Sequence[Part]) -> list[float]:
        """Make an update with each of some parts of one size, in one call of the device; for one worker.

        Returns:
            The sum of the losses of each update.
        """
        stacked = (tf.constant(np.stack(values)) for values in zip(*parts))
        return self._run_several(*stacked).numpy().tolist()

    def _update_several(self, kept: tf.Tensor, excluded: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
        num = kept.shape[0]

        def update(number: tf.Tensor, totals: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            part = (tf.gather(values, number) for values in (kept, excluded, counts))  # XLA of 2.6 cannot slice them
            sums, _ = self._update(*part, tf.constant(0.0))
            return number + 1, totals.write(number, sums[0])

        _, totals = tf.while_loop(lambda number, totals: number < num, update,
                                  (tf.constant(0), tf.TensorArray(tf.float32, num)))
        return totals.stack()

    def _update(self, kept: tf.Tensor, excluded: tf.Tensor, counts: tf.Tensor, is_stopping: tf.Tensor,
                dumps: bool = False) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        variables = self._model.tail.trainable_variables
        if kept.dtype == tf.int64:
            assert self._gather is not None
            kept = self._gather(kept)
        with tf.GradientTape() as tape:
            anchor, positive, negative = self._embed_towers(kept)
            measured = triplet_loss.distances(anchor, positive, negative)
            if self._semi_hard:
                candidates = tf.concat([positive, negative], 0)
                chosen = triplet_loss.semi_hard_negatives(
                    tf.stop_gradient(anchor), tf.stop_gradient(candidates), measured.positive, excluded)
                measured = triplet_loss.distances(anchor, positive, tf.gather(candidates, chosen))
            losses = counts * triplet_loss.triplet_loss(measured)
            # the original differentiates the sum, and reports the mean
            total = tf.reduce_sum(losses)
        gradients = self._team.gradients(self._optimizer, tape, total, variables)
        self._team.apply(self._optimizer, gradients, variables)
        sums = self._team.total(tf.stack([total, is_stopping]))
        if not dumps:
            return sums, {}
        names = trainable_names(self._model)
        return sums, dict(features=kept, anchor=anchor, positive=positive, negative=negative, losses=losses,
                          **{f"gradient/{name}": gradient for name, gradient in zip(names, gradients)})

    def _embed_towers(self, kept: tf.Tensor) -> list[tf.Tensor]:
        if self._batch_statistics:
            return [tf.cast(self._model.tail(tower, training=True), tf.float32) for tower in tf.split(kept, 3)]
        # with moving statistics images do not affect each other, so one pass is exact
        return tf.split(tf.cast(self._model.tail(kept, training=False), tf.float32), 3)
