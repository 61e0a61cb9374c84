"""One update of the weights, by one worker or by several."""
from __future__ import annotations

from typing import Any, NamedTuple, Sequence

import numpy as np
import tensorflow as tf

from common.keras import compat, workers
from siamese_omniglot.data.batches import PairImages
from siamese_omniglot.nets import losses
from siamese_omniglot.nets.siamese import Siamese

MOMENTUM = 0.9


class Outcome(NamedTuple):
    """What an update measured, over the batch of all workers."""

    loss: float  # mean over pairs
    accuracy: float  # share of pairs on the right side of 0.5
    num_stopping: int  # workers that are to stop
    forward_seconds: float  # of this worker; NaN where they are not measured
    backward_seconds: float
    update_seconds: float


class UpdateSettings(NamedTuple):
    """How updates are made."""

    head: str  # decides the form of the loss
    weight_decay: float  # gradients get this times the weights on top, as in PyTorch
    num_pairs: int  # in a step, of all workers
    takes_times: bool  # let the graph note the time between its parts


class Updater:
    """Makes updates.

    A worker's loss is the sum over its pairs divided by the pairs of all workers, and gradients are added up over the
    workers: the update is that of one worker with the whole batch.
    """

    def __init__(self, network: Siamese, optimizer: Any, settings: UpdateSettings,
                 workers: workers.Workers):
        """Compile the update.

        Args:
            network: the network, made in the workers' scope.
            optimizer: a Keras optimizer, made in the workers' scope.
            settings: of the updates.
            workers: those that work together.
        """
        self._network, self._optimizer, self._settings, self._workers = network, optimizer, settings, workers
        with workers.scope():
            compat.build_optimizer(optimizer, network.chain.trainable_variables)
        self._run = workers.compile(self._update)
        self._run_dumping = workers.compile(lambda *batch: self._update(*batch, dumps=True))

    def __call__(self, batch: PairImages, is_stopping: bool = False, dumps: bool = False
                 ) -> tuple[Outcome, dict[str, tf.Tensor]]:
        """Make one update with this worker's part of the batch.

        Returns:
            What was measured, and the tensors of a dump if one is asked for.
        """
        run = self._run_dumping if dumps else self._run
        sums, times, tensors = run(*map(tf.constant, batch), tf.constant(float(is_stopping)))
        loss, right, num_stopping = (float(value) for value in sums.numpy())
        forward, backward, update = (float(value) for value in np.diff(times.numpy()))
        outcome = Outcome(loss, right / self._settings.num_pairs, round(num_stopping), forward,
                          backward, update)
        return outcome, tensors

    def _update(self, first: tf.Tensor, second: tf.Tensor, labels: tf.Tensor, is_stopping: tf.Tensor,
                dumps: bool = False) -> tuple:
        variables = self._network.chain.trainable_variables
        began = self._time([])
        with tf.GradientTape() as tape:
            logits = self._network.logits(first, second)
            loss = tf.reduce_sum(losses.pair_losses(logits, labels, self._settings.head)) / self._settings.num_pairs
            minimised = loss + self._decay(variables)
        forward = self._time([loss])
        gradients = self._workers.gradients(self._optimizer, tape, minimised, variables)
        backward = self._time(gradients)
        self._workers.apply(self._optimizer, gradients, variables)
        sums = self._workers.total(tf.stack([loss, tf.reduce_sum(losses.are_right(logits, labels)), is_stopping]))
        updated = [tf.convert_to_tensor(variable) for variable in variables] if self._settings.takes_times else []
        times = tf.stack([began, forward, backward, self._time([sums, *updated])])
        return sums, times, self._dumped(first, second, labels, logits, gradients) if dumps else {}

    def _decay(self, variables: Sequence[Any]) -> tf.Tensor | float:
        """This worker's share of the term whose gradient is weight_decay times the weights."""
        if not self._settings.weight_decay:
            return 0.0
        squares = tf.add_n([tf.reduce_sum(tf.square(tf.convert_to_tensor(variable))) for variable in variables])
        return 0.5 * self._settings.weight_decay / self._workers.rank.size * squares

    def _dumped(self, first: tf.Tensor, second: tf.Tensor, labels: tf.Tensor, logits: tf.Tensor,
                gradients: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        return dict(first=first, second=second, labels=labels, logits=logits,
                    **{f"gradient/{name}": gradient
                       for name, gradient in zip(self._network.named_variables(), gradients)})

    def _time(self, after: list) -> tf.Tensor:
        """The time when some tensors are there."""
        if not self._settings.takes_times:
            return tf.constant(float("nan"))
        with tf.control_dependencies(after):
            return tf.timestamp()


def make_optimizer(kind: str) -> Any:
    """Make the optimizer; the rate is set at every epoch. Adam takes the momentum as its first beta."""
    if kind == "adam":
        return tf.keras.optimizers.Adam(beta_1=MOMENTUM)
    return tf.keras.optimizers.SGD(momentum=MOMENTUM, nesterov=True)
