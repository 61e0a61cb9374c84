"""Decisions that all workers of a training make together: when to stop, when to evaluate and when training is over.

All workers make the same steps in the same order, and rank 0 alone writes the run. What only one worker knows, the
others learn from sums over the workers.
"""
from __future__ import annotations

import contextlib
import dataclasses
import signal
from typing import TYPE_CHECKING, Iterator

from common.cli.program import Stopped, StopRequest
from common.devices.selection import Rank
from common.run.loop import Record

if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object  # Python 3.7 lacks it


class Workers(Protocol):
    """The workers of a training, as seen by one of them: those of `common.graph` or of `common.keras`."""

    rank: Rank

    def any(self, value: bool) -> bool:
        """Return whether `value` is true on any worker; all workers must call it, and wait here for each other."""


class SharedStop(StopRequest):
    """A stop request that all workers act on after the same step.

    A worker that received a signal tells the others in the sums of its next step, at no extra cost.

    Attributes:
        num_stopping: number of workers that had received a signal before the last step; set by each step.
    """

    def __init__(self, stop: StopRequest, workers: Workers):
        """Wrap the stop request of this process."""
        self.started = stop.started
        self.num_stopping = 0
        self._local, self._is_alone = stop, workers.rank.size == 1

    @property
    def is_signalled(self) -> bool:
        """Whether this worker has to tell the others to stop."""
        return self._local.requested and not self._is_alone

    @property
    def requested(self) -> bool:
        return self._local.requested if self._is_alone else self.num_stopping > 0

    def check(self) -> None:
        if self.requested:
            self._local.check()
            raise Stopped(signal.SIGTERM)  # another worker received the signal

    def complete(self) -> None:
        self._local.complete()

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        with self._local.deferred():
            yield


@dataclasses.dataclass(frozen=True)
class Epochs:
    """Ends of epochs, where all workers wait for rank 0 to evaluate.

    Attributes:
        workers: all workers of the training.
        record: the record of this worker.
        steps_per_epoch: updates per epoch.
    """

    workers: Workers
    record: Record
    steps_per_epoch: int

    def is_end(self, step: int) -> bool:
        """Whether an epoch, or the training, ends at this step and needs an evaluation."""
        request = self.record.run.request
        is_end = step % self.steps_per_epoch == 0 or step == request.num_updates
        return step > 0 and is_end and not request.performance

    def evaluation_due(self, step: int) -> bool:
        """Whether the epoch that ends at this step is still to be evaluated, as rank 0 knows."""
        is_chief = self.workers.rank.is_chief
        return self.is_end(step) and self.workers.any(is_chief and not self.record.has_evaluation(step))

    def is_over(self, step: int, ends_early: bool = False) -> bool:
        """Whether training ends early with this epoch; here the other workers wait for the evaluation of rank 0.

        Args:
            step: updates made.
            ends_early: what rank 0 decided.
        """
        return self.is_end(step) and self.workers.any(ends_early)
