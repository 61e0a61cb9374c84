"""The only writer of numbers: metrics.jsonl, and what is made from it at the end. No TensorFlow.

metrics.jsonl has one JSON object a line: `kind` (step, eval, final), `step` (updates made), `seconds` (of the run,
added up over its segments) and the values. Result file, loss files, curves and TensorBoard events are made from its
rows, so a resumed run needs nothing else.
"""
from __future__ import annotations

import dataclasses
import glob
import math
import os
import platform
import time
from typing import Any, Callable, Mapping, Sequence

from common import atomic_files
from common.plots import figures
from common.run import run_dir, timing

Curve = tuple  # (kind of row, key, label)


@dataclasses.dataclass(frozen=True)
class Case:
    """What a run is called in the result files.

    Attributes:
        network: for example Gitloss_ID1277_for_TensorFlow.
        batch_size: samples in a step.
        ranks: number of devices.
        performance: a speed run.
        images_a_step: images in a step of all devices; batch_size * ranks when None.
    """

    network: str
    batch_size: int
    ranks: int
    performance: bool
    images_a_step: int | None = None

    @property
    def name(self) -> str:
        """`<Network>_bs<batch>_<ranks>p_<acc|perf>`."""
        return f"{self.network}_bs{self.batch_size}_{self.ranks}p_{'perf' if self.performance else 'acc'}"


class Report:
    """Numbers of one run."""

    def __init__(self, run: run_dir.RunDir, step: int, started: float | None = None,
                 clock: Callable[[], float] = time.time, warn: Callable[[str], None] = print):
        """Open the run's metrics, cut back to the checkpoint that the run goes on from.

        Args:
            run: the open run directory.
            step: updates made so far; rows of later steps, and any `final` row, are dropped.
            started: when this segment began, in seconds of `clock`; now when None.
            clock: gives seconds.
            warn: takes a line about something that cannot be written.
        """
        self._run = run
        self._clock = clock
        self._warn = warn
        rows = [row for row in run_dir.read_metrics(run.path) if row["step"] <= step and row["kind"] != "final"]
        self.rows: list[dict[str, Any]] = rows
        self._evaluated = {row["step"] for row in rows if row["kind"] == "eval"}
        self._earlier_seconds = rows[-1]["seconds"] if rows else 0.0
        self._started = clock() if started is None else started
        path = run.file(run_dir.METRICS)
        atomic_files.write_text(path, "".join(_line(row) for row in rows))
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - closed in close()
        self._asked_for_pyplot, self._pyplot = False, None
        self._events = _open_events(run, warn)
        for row in rows:
            self._add_event(row)

    def seconds(self) -> float:
        """Seconds that the run has taken, over all its segments."""
        return self._earlier_seconds + self._clock() - self._started

    def step(self, step: int, **values: Any) -> None:
        """Record one training step."""
        self._add("step", step, values)

    def evaluation(self, step: int, **values: Any) -> None:
        """Record one evaluation."""
        self._add("eval", step, values)
        self._evaluated.add(step)

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """All rows of a kind."""
        return [row for row in self.rows if row["kind"] == kind]

    def evaluated(self, step: int) -> bool:
        """Whether the evaluation after this many updates is already recorded."""
        return step in self._evaluated

    def flush(self) -> None:
        """Put all rows on the disk; call it before a checkpoint is saved."""
        self._file.flush()
        os.fsync(self._file.fileno())
        if self._events:
            self._events.flush()

    def step_seconds(self) -> float | None:
        """Median seconds of a training step after warm-up, or None."""
        return timing.step_seconds([row["step_seconds"] for row in self.of_kind("step")])

    def finish(self, case: Case, step: int, accuracy: float | None, device: str, result: Mapping[str, str]) -> None:
        """Write the `final` row and the result file, and print the last lines.

        Args:
            case: names the result file `<CaseName>.log`.
            step: updates made.
            accuracy: what the model's Final Train Accuracy is; None prints n/a.
            device: kind of the device.
            result: the model's entries of the result file, by key, in their order, after the throughput and before
                E2ETrainingTime.
        """
        step_seconds = self.step_seconds()
        images_a_step = case.images_a_step or case.batch_size * case.ranks
        rate = images_a_step / step_seconds if step_seconds else None
        seconds = self.seconds()
        values = dict(step_seconds=step_seconds, images_per_second=rate, e2e_seconds=seconds, accuracy=accuracy,
                      device=device)
        entries: dict[str, Any] = dict(Network=case.network, RankSize=case.ranks, BatchSize=case.batch_size,
                                       DeviceType=platform.machine(), CaseName=case.name,
                                       ActualFPS=number(rate, 3), TrainingTime=number(step_seconds, 6))
        entries.update(result)
        entries["E2ETrainingTime"] = round(seconds)
        text = "".join(f"{key} = {value}\n" for key, value in entries.items())
        atomic_files.write_text(self._run.file(f"{case.name}.log"), text)
        print("------------------ Final result ------------------")
        print(f"Final Performance images/sec : {number(rate, 2)}")
        print(f"Final Performance sec/step : {number(step_seconds, 6)}")
        print(f"E2E Training Duration sec : {round(seconds)}")
        print(f"Final Train Accuracy : {number(accuracy, 4)}")
        self._add("final", step, values)
        self.flush()

    def pyplot(self) -> Any:
        """Return pyplot, or None where matplotlib is missing, after one warning in a run."""
        if not self._asked_for_pyplot:
            self._asked_for_pyplot, self._pyplot = True, figures.plotting(self._run.path, self._warn)
        return self._pyplot

    def draw_curves(self, panels: Mapping[str, Sequence[Curve]]) -> None:
        """Draw curves.png.

        Args:
            panels: for each panel's title its curves (kind of row, key, label).
        """
        pyplot = self.pyplot()
        if pyplot is None:
            return
        figure, axes = pyplot.subplots(1, len(panels), figsize=(6 * len(panels), 4), squeeze=False)
        for axis, (title, curves) in zip(axes[0], panels.items()):
            for kind, key, label in curves:
                rows = [row for row in self.of_kind(kind) if key in row]
                axis.plot([row["step"] for row in rows], [row[key] for row in rows], label=label,
                          marker="." if kind == "eval" else None, linewidth=1)
            axis.set_title(title)
            axis.set_xlabel("updates")
            axis.legend()
        figures.save_figure(figure, self._run.file("curves.png"))

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._events:
            self._events.close()

    def _add(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        row = dict(kind=kind, step=step, seconds=round(self.seconds(), 3), **values)
        self.rows.append(row)
        self._file.write(_line(row))
        if kind != "step":
            self._file.flush()
        self._add_event(row)

    def _add_event(self, row: Mapping[str, Any]) -> None:
        if self._events:
            self._events.add(row)


class _Events:
    """TensorBoard events, written by the tensorboard package."""

    def __init__(self, folder: str):
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._writer = EventFileWriter(folder)
        self.flush, self.close = self._writer.flush, self._writer.close

    def add(self, row: Mapping[str, Any]) -> None:
        values = [
            self._summary.Value(tag=f"{row['kind']}/{key}", simple_value=value)
            for key, value in row.items()
            if key not in ("kind", "step") and isinstance(value, (int, float)) and not isinstance(value, bool)
        ]
        self._writer.add_event(self._event(step=row["step"], wall_time=time.time(),
                                           summary=self._summary(value=values)))


def _open_events(run: run_dir.RunDir, warn: Callable[[str], None]) -> _Events | None:
    """Begin the event file anew: a resumed run writes its earlier rows into it again."""
    folder = run.folder("events")
    for old in glob.glob(os.path.join(glob.escape(folder), "events.out.tfevents.*")):
        os.remove(old)
    try:
        return _Events(folder)
    except ImportError as error:
        warn(f"Warning: no TensorBoard events ({error}); pip install tensorboard")
        return None


def number(value: float | None, decimals: int) -> str:
    """Format a number, `n/a` for one that does not exist."""
    return "n/a" if value is None or math.isnan(value) else f"{value:.{decimals}f}"


def _line(row: Mapping[str, Any]) -> str:
    return atomic_files.to_json(row) + "\n"
