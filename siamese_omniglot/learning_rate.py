"""The original's learning rate schedules, by epoch."""
from __future__ import annotations

import math
from typing import NamedTuple

_NOMINAL_BATCH = 64
_LOWEST = 0.01  # final learning rate as a share of the first one
_LIMITS = {"sgd": (5e-4, 1e-1), "adam": (3e-4, 1e-3)}
_STEPS = 10


class Schedule(NamedTuple):
    """A learning rate schedule."""

    kind: str  # "cosine" or "step"
    first: float  # learning rate after scaling
    last: float  # final learning rate
    num_epochs: int
    warm_up: float  # epochs

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        if self.kind == "step":
            decay = (self.last / self.first) ** (1.0 / (_STEPS - 1))
            return self.first * decay ** (epoch // (self.num_epochs / _STEPS))
        at_end = min(max(0.05 * self.num_epochs, 1), 15)
        if epoch <= self.warm_up:
            low = max(0.1 * self.first, 1e-6)
            return low + (self.first - low) * (epoch / self.warm_up) ** 2
        if epoch >= self.num_epochs - at_end:
            return self.last
        progress = (epoch - self.warm_up) / (self.num_epochs - self.warm_up - at_end)
        return self.last + 0.5 * (self.first - self.last) * (1.0 + math.cos(math.pi * progress))


def schedule(kind: str, optimizer: str, rate: float, batch_size: int, num_epochs: int, warm_up: float = 0.0
             ) -> Schedule:
    """Make the schedule of a run, of the kind "cosine" or "step".

    The rate, for a batch of 64, is multiplied by batch_size / 64 and clamped to [5e-4, 1e-1] (SGD) or [3e-4, 1e-3]
    (Adam). The final rate is a hundredth of the rate before clamping, clamped to a hundredth of these limits. A warm-up
    of 0 takes the original's, a twentieth of the run but at least 1 epoch and at most 3.
    """
    low, high = _LIMITS[optimizer]
    scaled = rate * batch_size / _NOMINAL_BATCH
    return Schedule(kind, min(max(scaled, low), high),
                    min(max(scaled * _LOWEST, low * _LOWEST), high * _LOWEST), num_epochs,
                    warm_up or min(max(0.05 * num_epochs, 1), 3))
