"""Decisions that all workers of a training make together: when to stop, when to evaluate and when training is over.

All workers make the same steps in the same order, and rank 0 alone writes the run. What only one worker knows, the
others learn from sums over the workers.
"""
from __future__ import annotations

import dataclasses
from typing import Sequence

import numpy as np

from common.devices.selection import Rank
from common.errors import ZooError
from common.run.loop import Record


class Workers:
    """The workers of a training, seen by that of a rank. Here it is alone; `graph` and `keras` connect it."""

    def __init__(self, rank: Rank):
        self.rank = rank

    def exchange(self, own: Sequence[float]) -> np.ndarray:
        """Return the two numbers of each worker, float32 [workers, 2]; all must call it, and wait for each other."""
        numbers = np.zeros((self.rank.size, 2), np.float32)
        numbers[self.rank.number] = own
        return self._total_of(numbers)

    def _total_of(self, numbers: np.ndarray) -> np.ndarray:
        """Return the sum over the workers of what each gives, float32 [workers, 2]."""
        return numbers

    def require_same(self, checksum: int) -> None:
        """Raise ZooError unless all workers, which must all call it, have the same 32-bit checksum of their task."""
        found = self.exchange(divmod(checksum, 1 << 16))  # float32 holds 16 bits exactly
        others = [str(rank) for rank, row in enumerate(found) if (row != found[0]).any()]
        if others:
            raise ZooError(f"rank {self.rank.number}: rank {' and '.join(others)} would not train the same as rank 0: "
                           "give all ranks the same data, --batch_size, --seed, length and other flags, and TensorFlow")

    def any(self, value: bool) -> bool:
        """Return whether `value` is true on any worker; all must call it, and wait here for each other."""
        return bool(self.exchange((value, 0)).any())


@dataclasses.dataclass(frozen=True)
class Epochs:
    """Ends of epochs, where all workers wait for rank 0 to evaluate; `record` is that of this worker."""

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
        """Whether rank 0 decided to end training early with this epoch; here the others wait for its evaluation."""
        return self.is_end(step) and self.workers.any(ends_early)
