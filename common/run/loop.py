"""The training loop of all models: resume, evaluate and save when due, stop on a signal, finish.

A model's `Task` defines its steps and evaluations; the run's `Record` keeps their results. Both depend on the number of
updates only, so a run that was stopped or killed at any moment ends with the same numbers as an undisturbed one.
"""
from __future__ import annotations

import contextlib
import math
import platform
import shlex
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Callable, Mapping

from common import atomic_files, console
from common.cli import program
from common.cli.program import Stopped, StopRequest
from common.errors import ZooError
from common.run import metrics
from common.run.metrics import Row, format_number
from common.run.opening import Run
from common.run.run_dir import RunRequest

if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object  # Python 3.7 lacks it


def run(task: Task, record: Record) -> None:
    """Train until all updates are made, starting from the newest checkpoint of a resumed run.

    Signals are handled between two calls of the task's `step` or `steps`, after saving a checkpoint.
    """
    stop, request = record.stop, record.run.request
    with stop.deferred(), contextlib.closing(record):
        step = task.start(record.restore(task))
        while True:
            if stop.requested:
                record.save(step, waits=True)
                record.describe_stop(step)
                stop.check()
            if task.evaluation_due(step) and not record.has_evaluation(step):
                record.save(step)
                try:
                    record.evaluation(step, task.evaluate(step))
                except Stopped:
                    continue
            if step == request.num_updates or task.is_over(step):
                break
            for values in _update(task, step, request):
                step += 1
                record.step(step, values)
            if (step % task.steps_per_epoch == 0 and not request.performance) or record.is_save_due():
                record.save(step)
        record.save(step, waits=True)
        task.finish(step)
        stop.complete()


def _update(task: Any, step: int, request: RunRequest) -> list[Row]:
    """Make an update, or several in a call; none beyond a step at which the loop has something else to do."""
    most = getattr(task, "steps_per_loop", 1)
    count = next((count for count in range(1, most) if _is_due(task, step + count, request)), most)
    return [task.step(step)] if count == 1 else task.steps(step, count)


def _is_due(task: Task, step: int, request: RunRequest) -> bool:
    is_epoch_end = step % task.steps_per_epoch == 0 and not request.performance
    return step == request.num_updates or is_epoch_end or task.evaluation_due(step) or task.is_over(step)


class Task(Protocol):
    """What a model does in the loop. `step` is always the number of updates made so far.

    A task with --steps_per_loop has two members more: `steps_per_loop`, the value of the flag, and
    `steps(step, count)`, which makes up to `count` updates in one call of the device and returns their measurements.

    Attributes:
        steps_per_epoch: a checkpoint is saved at the end of each epoch.
        advice: what helps against divergence, for example "try a smaller --lr".
        curves: the panels of curves.png.
    """

    steps_per_epoch: int
    advice: str
    curves: metrics.Panels

    def on_row(self, row: Mapping[str, Any], is_replayed: bool) -> None:
        """Process a row of metrics.jsonl: print it, write it to text files, update sums.

        Replayed rows, which belong to earlier segments and were printed then, come before `start`.
        """

    def start(self, step: int | None) -> int:
        """Prepare for training from the step of a restored checkpoint, None without one; return the updates made."""

    def is_over(self, step: int) -> bool:
        """Whether training ends early, before all updates are made."""

    def step(self, step: int) -> dict[str, Any]:
        """Make one update; return its measurements, among them `loss` and `step_seconds`."""

    def evaluation_due(self, step: int) -> bool:
        """Whether an evaluation is due."""

    def evaluate(self, step: int) -> dict[str, Any]:
        """Evaluate without changing the weights; return the measurements, with `best` true for the best weights."""

    def finish(self, step: int) -> None:
        """Write the results of the run."""


class Record:
    """The record of a rank other than 0, which writes nothing. It stops training when the loss is not finite."""

    def __init__(self, run: Run, stop: StopRequest):
        self.run, self.stop = run, stop
        stop.is_shared = run.request.rank.size > 1
        self._task: Task

    def restore(self, task: Task) -> int | None:
        """Restore the newest checkpoint of a resumed run and replay its rows to the task, which gets new rows as well.

        Return the step of the checkpoint, None without one.
        """
        self._task = task
        return None

    def step(self, step: int, values: Row) -> None:
        """Record an update; raise ZooError if the loss is not finite."""
        if not math.isfinite(values["loss"]):
            raise ZooError(f"the loss is {values['loss']} at step {step}: training has diverged; {self._task.advice}")

    def has_evaluation(self, step: int) -> bool:
        """Whether the evaluation at this step is already recorded."""
        del step
        return False

    def evaluation(self, step: int, values: Row) -> None:
        """Record an evaluation."""

    def is_save_due(self) -> bool:
        """Whether the newest checkpoint is older than --save_minutes."""
        return False

    def save(self, step: int, waits: bool = False) -> None:
        """Save a checkpoint, unless this step has one; unless it `waits`, it may be written beside training."""

    def describe_stop(self, step: int) -> None:
        """Show where a run stops that a signal ends."""

    def close(self) -> None:
        """Close all files."""


class RunRecord(Record):
    """The record of rank 0; `evaluations` are the rows of kind eval, in order, without values that are lists."""

    def __init__(self, run: Run, stop: StopRequest, checkpoints: Any, v1: Any,
                 clock: Callable[[], float] = time.monotonic):
        """Write nothing yet; the duration of the run counts from `stop.started`, in seconds of `clock`.

        `checkpoints` is a `bundle.CheckpointFolder` or a `keras.checkpoints.BackgroundFolder`; `v1` is TensorFlow's
        version 1 API.
        """
        super().__init__(run, stop)
        self.checkpoints = checkpoints
        self.evaluations: list[dict[str, Any]] = []
        self._v1, self._clock = v1, clock
        self._save_seconds = 60.0 * run.request.flags.save_minutes
        self._saved_at, self._saved_step = time.monotonic(), -1
        self._files: list[Any] = []
        self._progress: console.Progress | None = None
        self._loss = math.nan  # of the last step
        self._metrics: metrics.MetricsFile
        self._events: metrics.EventFile

    def restore(self, task: Task) -> int | None:
        step = None
        if self.run.resumed:
            step, notices = self.checkpoints.restore_newest()
            for line in (*notices, f"Resuming after {step} updates." if step is not None else
                         "Notice: the run was stopped before its first checkpoint; it starts from the beginning."):
                print(line)
        self._saved_step = -1 if step is None else step
        self._task = task
        self.run.remember("curves", {panel: list(map(list, curves)) for panel, curves in task.curves.items()})
        self._events = metrics.EventFile(self.run.folder("events"), self._v1, self.run.arguments)
        self._metrics = metrics.MetricsFile(self.run.path, step or 0, self.stop.started,
                                            lambda row: self._publish(row, is_replayed=True), self._clock)
        self._files = [self._metrics, self._events]
        return step

    def step(self, step: int, values: Row) -> None:
        super().step(step, values)
        self._publish(self._metrics.append("step", step, values))
        if self._progress is None:
            self._progress = console.Progress("training", self.run.request.num_updates, "step", step - 1)
        self._progress.update(step, f"loss {values['loss']:#.4g}")

    def has_evaluation(self, step: int) -> bool:
        return bool(self.evaluations) and self.evaluations[-1]["step"] == step

    def evaluation(self, step: int, values: Row) -> None:
        self._publish(self._metrics.append("eval", step, values))
        if console.hides_details():
            print(metrics.summary(step, values, self._task.curves))

    def is_save_due(self) -> bool:
        return time.monotonic() - self._saved_at >= self._save_seconds

    def save(self, step: int, waits: bool = False) -> None:
        self._metrics.sync()
        best = [row["step"] for row in self.evaluations if row.get("best")][-1:]
        if step == self._saved_step:
            self.checkpoints.prune(best)  # an evaluation may have changed which one is best
        else:
            self.checkpoints.save(step, keep=best)
            self._saved_at, self._saved_step = time.monotonic(), step
        if waits:
            self.checkpoints.wait()

    def seconds(self) -> float:
        """Return the duration of the run, summed over its segments."""
        return self._metrics.seconds()

    def describe_stop(self, step: int) -> None:
        self._end_progress()
        self._write_result(dict(ActualLoss=format_number(self._loss, 4)), self.seconds())
        self._draw()
        print(f"Saved after {step} updates; the same command resumes.", flush=True)

    def finish(self, step: int, accuracy: float | None, result: Mapping[str, str]) -> None:
        """Write result file, `final` row, curves and report, and print the last lines.

        `accuracy` is Final Train Accuracy, None for n/a; `result` the model's entries of the result file, written after
        the throughput.
        """
        self._end_progress()
        seconds = self.seconds()
        step_seconds, rate = self._write_result(result, seconds)
        print("------------------ Final result ------------------")
        print(f"Final Performance images/sec : {format_number(rate, 2)}")
        print(f"Final Performance sec/step : {format_number(step_seconds, 6)}")
        print(f"E2E Training Duration sec : {round(seconds)}")
        print(f"Final Train Accuracy : {format_number(accuracy, 4)}")
        self._publish(self._metrics.append("final", step, dict(
            step_seconds=step_seconds, images_per_second=rate, e2e_seconds=seconds, accuracy=accuracy,
            device=self.run.device.kind, **metrics.beginning(self.run.path))))
        self._draw()

    def _write_result(self, result: Mapping[str, str], seconds: float) -> tuple[float | None, float | None]:
        """Write the result file; return seconds per step and images per second, None where too few steps are timed."""
        request, step_seconds = self.run.request, metrics.median_step_seconds(self.run.path)
        rate = request.images_per_step / step_seconds if step_seconds else None
        entries: dict[str, Any] = dict(
            Network=request.network, RankSize=request.rank.size, BatchSize=request.flags.batch_size,
            DeviceType=platform.machine(), CaseName=request.case_name, ActualFPS=format_number(rate, 3),
            TrainingTime=format_number(step_seconds, 6))
        entries.update(result)
        entries["E2ETrainingTime"] = round(seconds)
        atomic_files.write_text(self.run.file(f"{request.case_name}.log"),
                                "".join(f"{key} = {value}\n" for key, value in entries.items()))
        return step_seconds, rate

    def _draw(self) -> None:
        """Draw the run by `zoo report`, in a process of its own: no problem with a picture harms a trained run."""
        self._metrics.sync()
        result = subprocess.run([sys.executable, "-m", "common.zoo", "report", self.run.path], check=False,
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                env=program.environment())
        lines = result.stderr.splitlines()
        if result.returncode:
            reason = lines[-1] if lines else f"exit status {result.returncode}"
            lines = [f"Warning: pictures are missing ({reason}); zoo report {shlex.quote(self.run.path)} draws them"]
        for line in lines:
            print(line)

    def _end_progress(self) -> None:
        if self._progress is not None:
            self._progress.close()

    def close(self) -> None:
        self._end_progress()
        try:
            self.checkpoints.wait()
        finally:
            for file in self._files:
                file.close()

    def _publish(self, row: Row, is_replayed: bool = False) -> None:
        """Hand a row on to all that is derived from the rows."""
        if row["kind"] == "step":
            self._loss = row["loss"]
        elif row["kind"] == "eval":
            self.evaluations.append({key: value for key, value in row.items() if not isinstance(value, list)})
        self._events.add(row)
        self._task.on_row(row, is_replayed)
