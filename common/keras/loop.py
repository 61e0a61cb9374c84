"""The training loop of Keras models, with one worker or several.

All workers go through the same steps in the same order. What rank 0 knows alone, such as where the run goes on or that
it is to end early, the others learn by sums over the workers; rank 0's record alone writes.
"""
from __future__ import annotations

import abc
import dataclasses
import signal
from typing import Any, Callable, Sequence

import tensorflow as tf

from common.cli.program import Stopped, StopRequest
from common.keras import workers
from common.keras.record import Record


@dataclasses.dataclass(frozen=True)
class Length:
    """How far to train.

    Attributes:
        num_updates: updates to make.
        steps_per_epoch: updates in an epoch.
        evaluates: whether epochs, and the run, end with an evaluation.
    """

    num_updates: int
    steps_per_epoch: int
    evaluates: bool

    def is_evaluation_due(self, updates: int) -> bool:
        """Whether an evaluation follows so many updates."""
        at_epoch = updates > 0 and updates % self.steps_per_epoch == 0
        return self.evaluates and (at_epoch or updates == self.num_updates)


class Loop(abc.ABC):
    """The loop of one worker; a model says what its steps are.

    Attributes:
        updates: variable with the number of updates made, int64.
    """

    def __init__(self, workers: workers.Workers, length: Length):
        self._workers, self._length = workers, length
        with workers.scope():
            self.updates = tf.Variable(0, dtype=tf.int64, trainable=False)

    @abc.abstractmethod
    def variables(self) -> Sequence[Any]:
        """Return all variables that the workers must begin with the same values of."""

    @abc.abstractmethod
    def step(self, record: Record, updates: int, is_stopping: bool) -> int:
        """Make and record an update.

        Args:
            record: of this worker.
            updates: made so far.
            is_stopping: this worker is to stop; the others are told within the step.

        Returns:
            How many workers are to stop.
        """

    def model(self) -> Any:
        """Return what the record saves and evaluates."""
        return self

    def prepare(self, check: Callable[[], None]) -> None:
        """Do what is left to do before the first step, when the variables have their values.

        Args:
            check: raises when the program is to stop.
        """
        del check

    @abc.abstractmethod
    def begin_epoch(self, epoch: int) -> None:
        """Do what the steps of an epoch need."""

    def run(self, record: Record, stop: StopRequest) -> None:
        """Train to the end of the run, from the place that the record gives."""
        with stop.deferred():
            self.updates.assign(record.start(self.model()))
            self._workers.broadcast([*self.variables(), self.updates])
            self.prepare(stop.check)
            updates = self._train(record, int(self.updates.numpy()), stop)
            record.save(updates)
            record.finish(updates)
            stop.complete()

    def _evaluate(self, record: Record, updates: int) -> bool:
        """Evaluate unless that is done; return whether training is to end here."""
        if self._workers.agree(float(record.needs_evaluation(updates))) > 0 and (
                self._workers.rank.is_chief or self._workers.run_the_same):
            record.evaluate(updates)
        return self._workers.agree(float(record.is_over())) > 0

    def _train(self, record: Record, updates: int, stop: StopRequest) -> int:
        is_alone = self._workers.rank.size == 1
        epoch = -1
        while True:
            if is_alone and stop.requested:
                record.save(updates)
                stop.check()
            is_due = self._length.is_evaluation_due(updates)
            is_over = is_due and self._evaluate(record, updates)
            if is_over or updates == self._length.num_updates:
                return updates
            if updates // self._length.steps_per_epoch != epoch:
                epoch = updates // self._length.steps_per_epoch
                self.begin_epoch(epoch)
            num_stopping = self.step(record, updates, stop.requested and not is_alone)
            updates += 1
            self.updates.assign(updates)
            if num_stopping:
                record.save(updates)
                stop.check()
                raise Stopped(signal.SIGTERM)  # another worker has been told to stop
            record.save_if_due(updates)
