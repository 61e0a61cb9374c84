"""What the workers of one training must agree on, beyond `common.run.loop`: when they stop, evaluate and end.

All workers make the same steps in the same order, and rank 0 alone writes the run. What one of them knows alone, the
others learn from sums over the workers. With one worker there is nothing to agree on.
"""
from __future__ import annotations

import contextlib
import dataclasses
import signal
from typing import Iterator

from common.cli.program import Stopped, StopRequest
from common.keras.workers import Workers
from common.run.loop import Record


class SharedStop(StopRequest):
    """A stop request that all workers act on after the same step.

    A worker that was signalled says so in the sums of its next step, where it costs nothing.

    Attributes:
        num_stopping: workers that were signalled before the last step; set by each step.
    """

    def __init__(self, stop: StopRequest, workers: Workers):
        """Take the program's stop request."""
        self.started = stop.started
        self.num_stopping = 0
        self._own, self._is_alone = stop, workers.rank.size == 1

    @property
    def is_signalled(self) -> bool:
        """Whether this worker has to tell the others to stop."""
        return self._own.requested and not self._is_alone

    @property
    def requested(self) -> bool:
        return self._own.requested if self._is_alone else self.num_stopping > 0

    def check(self) -> None:
        if self.requested:
            self._own.check()
            raise Stopped(signal.SIGTERM)  # another worker was signalled

    def complete(self) -> None:
        self._own.complete()

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        with self._own.deferred():
            yield


@dataclasses.dataclass(frozen=True)
class Epochs:
    """Ends of epochs, where all workers wait for rank 0 to evaluate.

    Attributes:
        workers: those that train together.
        record: of this worker.
        steps_per_epoch: updates in an epoch.
    """

    workers: Workers
    record: Record
    steps_per_epoch: int

    def is_end(self, step: int) -> bool:
        """Whether an epoch, or the training, ends here and is to be evaluated."""
        request = self.record.run.request
        is_end = step % self.steps_per_epoch == 0 or step == request.num_updates
        return step > 0 and is_end and not request.performance

    def evaluation_due(self, step: int) -> bool:
        """Whether the epoch that ends here is still to be evaluated, as rank 0 knows."""
        is_chief = self.workers.rank.is_chief
        return self.is_end(step) and self.workers.any(is_chief and not self.record.has_evaluation(step))

    def is_over(self, step: int, ends_early: bool = False) -> bool:
        """Whether training ends with this epoch; here the others wait for rank 0's evaluation.

        Args:
            step: updates made.
            ends_early: rank 0 says so.
        """
        return self.is_end(step) and self.workers.any(ends_early)
