"""What a worker records of a Keras run: rank 0 all of it, the others nothing."""
from __future__ import annotations

import time
from typing import Any, Mapping

from common.checkpoints import bundle
from common.cli.program import StopRequest
from common.keras import checkpoints
from common.run import metrics
from common.run.setup import OpenRun


class Record:
    """The record of a worker that is not rank 0: nothing is recorded or saved."""

    def start(self, model: Any) -> int:
        """Restore what a run that goes on has saved; return the updates made. Other ranks learn them from rank 0."""
        del model
        return 0

    def step(self, updates: int, *measured: Any) -> None:
        """Record a step."""

    def needs_evaluation(self, updates: int) -> bool:
        """Whether the evaluation after so many updates is still to be made. Other ranks learn it from rank 0."""
        del updates
        return False

    def evaluate(self, updates: int) -> None:
        """Evaluate; on NPUs all ranks do, elsewhere rank 0 alone."""

    def is_over(self) -> bool:
        """Whether the evaluations say that training is to end early. Other ranks learn it from rank 0."""
        return False

    def save(self, updates: int) -> None:
        """Save a checkpoint."""

    def save_if_due(self, updates: int) -> None:
        """Save a checkpoint when the last one is old."""

    def finish(self, updates: int) -> None:
        """Finish the run."""


class RunRecord(Record):
    """What the records of rank 0 share: the run's report and its checkpoints.

    A model's record calls `_open` when it starts, and marks the evaluations of the best weights with `best`.
    """

    def __init__(self, opened: OpenRun, stop: StopRequest, save_seconds: float, init_checkpoint: str | None):
        """Say what to record in.

        Args:
            opened: the run.
            stop: says when the program began.
            save_seconds: seconds between checkpoints.
            init_checkpoint: prefix of a checkpoint that a run which begins takes weights from, or None.
        """
        self._run, self._stop = opened.run, stop
        self._save_seconds, self._init_checkpoint = save_seconds, init_checkpoint
        self._saved_at = time.monotonic()
        self._report: metrics.Report
        self._checkpoints: checkpoints.KerasCheckpoints

    def _open(self, variables: Mapping[str, Any], others: Mapping[str, Any], updates: Any) -> int:
        """Restore the newest checkpoint, and open the report at its step; return that step.

        Args:
            variables: the model's, by name.
            others: the optimizer's, by name.
            updates: variable with the number of updates.
        """
        self._checkpoints = checkpoints.KerasCheckpoints(self._run.folder("ckpt"), {**variables, **others},
                                                               updates)
        step, notices = self._checkpoints.go_on(self._run.resumed)
        if step is None and self._init_checkpoint:
            notices += checkpoints.initialise_from(self._init_checkpoint, variables)
        for notice in notices:
            print(notice)
        self._report = metrics.Report(self._run, step or 0, self._stop.started)
        return step or 0

    def needs_evaluation(self, updates: int) -> bool:
        """Whether the evaluation after so many updates is still to be made."""
        return not self._report.evaluated(updates)

    def save(self, updates: int) -> None:
        """Save a checkpoint; the best one is kept."""
        self._report.flush()
        best = [row["step"] for row in self._report.of_kind("eval") if row.get("best")]
        if updates not in bundle.steps_in(self._checkpoints.folder):
            self._checkpoints.save(updates, keep=best[-1:])
        self._saved_at = time.monotonic()

    def save_if_due(self, updates: int) -> None:
        """Save a checkpoint when the last one is old."""
        if time.monotonic() - self._saved_at >= self._save_seconds:
            self.save(updates)
