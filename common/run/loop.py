"""The training loop of all models: resume, evaluate and save when due, stop on a signal, finish.

A model's `Task` says what its steps and evaluations are, the run's `Record` keeps what they give. Everything follows
from the number of updates made. So a run that was stopped or killed at any moment ends with the numbers of one that was
not.
"""
from __future__ import annotations

import contextlib
import math
import platform
import time
from typing import TYPE_CHECKING, Any, Callable, Mapping

from common import atomic_files
from common.cli.program import StopRequest
from common.errors import ZooError
from common.run import metrics
from common.run.metrics import number
from common.run.opening import Run

if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object  # Python 3.7 has none


def run(task: Task, record: Record) -> None:
    """Train until all updates are made, from the newest checkpoint when the run has one.

    A signal is acted on between two steps, after a checkpoint is saved.

    Args:
        task: the model.
        record: of the run.
    """
    stop, request = record.stop, record.run.request
    with stop.deferred(), contextlib.closing(record):
        step = task.start(record.restore(task))
        while True:
            if stop.requested:
                record.save(step)
                stop.check()
            if task.evaluation_due(step) and not record.has_evaluation(step):
                record.save(step)
                record.evaluation(step, task.evaluate(step))
            if step == request.num_updates or task.is_over(step):
                break
            values = task.step(step)
            step += 1
            record.step(step, values)
            if (step % task.steps_per_epoch == 0 and not request.performance) or record.is_save_due():
                record.save(step)
        record.save(step)
        task.finish(step)
        stop.complete()


class Task(Protocol):
    """What a model does in the loop. A step is counted by the updates made before it.

    Attributes:
        steps_per_epoch: a checkpoint is saved at the end of an epoch.
    """

    steps_per_epoch: int

    def on_row(self, row: Mapping[str, Any], is_replayed: bool) -> None:
        """Take note of a row of metrics.jsonl: print it, write it to text files, sum it up.

        Args:
            row: the row, just written; or, when a run is resumed, each row of the earlier segments before `start`.
            is_replayed: it is a row of an earlier segment, and has been printed.
        """

    def start(self, step: int | None) -> int:
        """Get ready to train; return the updates made.

        Args:
            step: of the checkpoint that was restored; None for a run that begins.
        """

    def is_over(self, step: int) -> bool:
        """Whether training ends here, before all updates are made."""

    def step(self, step: int) -> dict[str, Any]:
        """Make the next update; return what it measured, `loss` and `step_seconds` among it."""

    def evaluation_due(self, step: int) -> bool:
        """Whether an evaluation follows so many updates."""

    def evaluate(self, step: int) -> dict[str, Any]:
        """Evaluate without a change of the weights; return what was measured, `best` for the best weights so far."""

    def finish(self, step: int) -> None:
        """Write the results of the run."""


class Record:
    """The record of a process that is not rank 0: nothing is written, but a loss that is not finite ends training.

    Attributes:
        run: the open run.
        stop: signals.
    """

    def __init__(self, run: Run, stop: StopRequest, advice: str):
        """Write nothing yet.

        Args:
            run: the open run.
            stop: the program's.
            advice: what helps against divergence, for example "take a smaller --lr".
        """
        self.run, self.stop = run, stop
        self._advice = advice

    def restore(self, task: Task) -> int | None:
        """Restore the newest checkpoint of a run that is resumed, and replay its rows.

        Args:
            task: takes these rows, and all that follow.

        Returns:
            Updates made, None without a checkpoint.
        """
        del task
        return None

    def step(self, step: int, values: metrics.Row) -> None:
        """Record an update.

        Raises:
            ZooError: the loss is not finite.
        """
        if not math.isfinite(values["loss"]):
            raise ZooError(f"the loss is {values['loss']} at step {step}: training has diverged; {self._advice}")

    def has_evaluation(self, step: int) -> bool:
        """Whether the evaluation after so many updates is recorded already."""
        del step
        return False

    def evaluation(self, step: int, values: metrics.Row) -> None:
        """Record an evaluation."""

    def is_save_due(self) -> bool:
        """Whether the newest checkpoint is older than --save_minutes."""
        return False

    def save(self, step: int) -> None:
        """Save a checkpoint, unless there is one of this step."""

    def close(self) -> None:
        """Close the files; `run` does, however it ends."""


class RunRecord(Record):
    """The record of rank 0.

    Attributes:
        checkpoints: of the run.
        evaluations: rows of kind eval, in order, without values that are lists.
    """

    def __init__(self, run: Run, stop: StopRequest, advice: str, checkpoints: Any, v1: Any,
                 clock: Callable[[], float] = time.time):
        """Write nothing yet.

        Args:
            run: see `Record`.
            stop: see `Record`; the run's seconds count from `stop.started`.
            advice: see `Record`.
            checkpoints: a `CheckpointFolder` of `common.checkpoints.store`.
            v1: TensorFlow's version 1 API, whose event writer is used.
            clock: gives seconds.
        """
        super().__init__(run, stop, advice)
        self.checkpoints = checkpoints
        self.evaluations: list[dict[str, Any]] = []
        self._v1, self._clock = v1, clock
        self._save_seconds = 60.0 * run.request.flags.save_minutes
        self._saved_at, self._saved_step = time.monotonic(), -1
        self._task: Task
        self._files: list[Any] = []
        self._metrics: metrics.MetricsFile
        self._events: metrics.EventFile

    def restore(self, task: Task) -> int | None:
        step = None
        if self.run.resumed:
            step, notices = self.checkpoints.restore_newest()
            for line in (*notices, f"Resuming after {step} updates." if step is not None else
                         "Notice: the run was stopped before its first checkpoint; it starts afresh."):
                print(line)
        self._saved_step = -1 if step is None else step
        self._task = task
        self._events = metrics.EventFile(self.run.folder("events"), self._v1)
        self._metrics = metrics.MetricsFile(self.run.path, step or 0, self.stop.started,
                                            lambda row: self._note(row, is_replayed=True), self._clock)
        self._files = [self._metrics, self._events]
        return step

    def step(self, step: int, values: metrics.Row) -> None:
        super().step(step, values)
        self._note(self._metrics.append("step", step, values))

    def has_evaluation(self, step: int) -> bool:
        return bool(self.evaluations) and self.evaluations[-1]["step"] == step

    def evaluation(self, step: int, values: metrics.Row) -> None:
        self._note(self._metrics.append("eval", step, values))

    def is_save_due(self) -> bool:
        return time.monotonic() - self._saved_at >= self._save_seconds

    def save(self, step: int) -> None:
        self._metrics.sync()
        self._events.flush()
        best = [row["step"] for row in self.evaluations if row.get("best")][-1:]
        if step == self._saved_step:
            self.checkpoints.prune(best)  # an evaluation may have changed which one is best
            return
        self.checkpoints.save(step, keep=best)
        self._saved_at, self._saved_step = time.monotonic(), step

    def seconds(self) -> float:
        """Seconds that the run has taken, over all its segments."""
        return self._metrics.seconds()

    def finish(self, step: int, accuracy: float | None, result: Mapping[str, str], panels: metrics.Panels) -> None:
        """Write curves, result file and the `final` row, and print the last lines.

        Args:
            step: updates made.
            accuracy: the model's Final Train Accuracy; None prints n/a.
            result: the model's entries of the result file, by key; they follow the throughput.
            panels: of the curves.
        """
        request = self.run.request
        metrics.draw_curves(self.run.path, panels)
        step_seconds = metrics.median_step_seconds(self.run.path)
        rate = request.images_per_step / step_seconds if step_seconds else None
        seconds = self.seconds()
        entries: dict[str, Any] = dict(
            Network=request.network, RankSize=request.rank.size, BatchSize=request.flags.batch_size,
            DeviceType=platform.machine(), CaseName=request.case_name, ActualFPS=number(rate, 3),
            TrainingTime=number(step_seconds, 6))
        entries.update(result)
        entries["E2ETrainingTime"] = round(seconds)
        atomic_files.write_text(self.run.file(f"{request.case_name}.log"),
                                "".join(f"{key} = {value}\n" for key, value in entries.items()))
        print("------------------ Final result ------------------")
        print(f"Final Performance images/sec : {number(rate, 2)}")
        print(f"Final Performance sec/step : {number(step_seconds, 6)}")
        print(f"E2E Training Duration sec : {round(seconds)}")
        print(f"Final Train Accuracy : {number(accuracy, 4)}")
        self._note(self._metrics.append("final", step, dict(
            step_seconds=step_seconds, images_per_second=rate, e2e_seconds=seconds, accuracy=accuracy,
            device=self.run.device.kind)))
        self._metrics.sync()

    def close(self) -> None:
        for file in self._files:
            file.close()

    def _note(self, row: metrics.Row, is_replayed: bool = False) -> None:
        if row["kind"] == "eval":
            self.evaluations.append({key: value for key, value in row.items() if not isinstance(value, list)})
        self._events.add(row)
        self._task.on_row(row, is_replayed)
