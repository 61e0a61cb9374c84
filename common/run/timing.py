"""Step times and what is said about them. No TensorFlow."""
from __future__ import annotations

import statistics
import time
from typing import Callable, Sequence


class StepTimer:
    """Measures steps one by one; what happens between `stop` and `start` (evaluation, checkpoints) does not count."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter):
        self._clock = clock
        self._started = 0.0

    def start(self) -> None:
        """Begin a step."""
        self._started = self._clock()

    def stop(self) -> float:
        """End the step; return its seconds."""
        return self._clock() - self._started


def step_seconds(durations: Sequence[float]) -> float | None:
    """Return the median seconds of a training step after a warm-up of min(10, steps // 2) steps.

    Args:
        durations: seconds of every step of the run, in order.

    Returns:
        None when fewer than two steps are left to time.
    """
    timed = durations[min(10, len(durations) // 2):]
    return statistics.median(timed) if len(timed) >= 2 else None
