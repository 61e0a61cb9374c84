"""metrics.jsonl, the only source of a run's numbers: one JSON object per line, called a row.

A row has `kind` (step, eval or final), `step` (updates made), `seconds` (duration of the run, summed over its segments)
and named values. The result file, text files, curves and TensorBoard events are all derived from the rows, so that a
resumed run needs nothing else. Rows are streamed: memory use does not grow with the length of a run.
"""
from __future__ import annotations

import collections
import contextlib
import glob
import json
import math
import os
import platform
import statistics
import time
from typing import Any, Callable, Iterator, Mapping, NamedTuple, Sequence, TextIO

from common import atomic_files
from common.errors import ZooError
from common.run.run_dir import TIME_FORMAT

METRICS = "metrics.jsonl"
BOOKKEEPING = ("evaluation", "printed_step", "unix_seconds")  # values of rows that count and date them: no results
_MAX_WARM_UP_STEPS = 10
_SUCCESS = 1  # tensorboard.plugins.hparams.api_pb2.STATUS_SUCCESS
Row = Mapping[str, Any]


def read_rows(run_path: str, kind: str | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of a run, of one kind or of all; null is read as NaN.

    A last line that a killed process left incomplete is ignored; any other damaged one raises ZooError.
    """
    path = os.path.join(run_path, METRICS)
    if not os.path.exists(path):
        return
    with open(path, encoding="utf-8", errors="replace") as file:
        for line_number, line in enumerate(file, 1):
            row = _parse(line)
            if row is None:
                if next(file, None) is not None:
                    raise ZooError(f"{path}: line {line_number} is damaged; --resume=never archives the run")
            elif kind in (None, row["kind"]):
                yield row


def last_row(run_path: str) -> dict[str, Any] | None:
    """Return the last row of a run, None if it is missing or incomplete."""
    path = os.path.join(run_path, METRICS)
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8", errors="replace") as file:
        return _parse(next(iter(collections.deque(file, 1)), ""))


def is_finished(run_path: str) -> bool:
    """Whether a run was completed: its last row is of kind `final`."""
    row = last_row(run_path)
    return row is not None and row["kind"] == "final"


def _parse(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
        if not (isinstance(row["kind"], str) and isinstance(row["step"], int)
                and isinstance(row["seconds"], (int, float))):
            return None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return {key: math.nan if value is None else value for key, value in row.items()}


class MetricsFile:
    """The metrics.jsonl of an open run."""

    def __init__(self, run_path: str, step: int, started: float, replay: Callable[[Row], None],
                 clock: Callable[[], float] = time.monotonic):
        """Truncate the file to the rows of a checkpoint, and open it for appending.

        Rows after `step`, and `final` rows, are dropped; `replay` is called with each other one, in order. `started` is
        the start of this segment of the run, in seconds of `clock`.
        """
        self._clock, self._started, self._earlier_seconds = clock, started, 0.0
        path = os.path.join(run_path, METRICS)
        temporary = os.path.join(run_path, f".{METRICS}.{os.getpid()}.tmp")
        with open(temporary, "w", encoding="utf-8") as kept:
            for row in read_rows(run_path):
                if row["step"] <= step and row["kind"] != "final":
                    kept.write(atomic_files.to_json(row) + "\n")
                    self._earlier_seconds = row["seconds"]
                    replay(row)
        atomic_files.replace(temporary, path)
        self._file = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 - closed in close()
        self.close = self._file.close

    def seconds(self) -> float:
        """Return the duration of the run, summed over its segments."""
        return self._earlier_seconds + self._clock() - self._started

    def append(self, kind: str, step: int, values: Row) -> dict[str, Any]:
        """Write a row and return it. It reaches the operating system at once, so killing the process loses no row."""
        row = dict(kind=kind, step=step, seconds=round(self.seconds(), 3), **values)
        self._file.write(atomic_files.to_json(row) + "\n")
        return row

    def sync(self) -> None:
        """Make the rows survive a power cut; called before a checkpoint is saved."""
        os.fsync(self._file.fileno())


class GrowingText:
    """A text file that grows with the rows. The first text that is added starts a new file: rows are replayed."""

    def __init__(self, path: str, head: str = ""):
        """Open nothing yet; `head` is the beginning of the file."""
        self._path, self._head = path, head
        self._file: TextIO | None = None

    def add(self, text: str) -> None:
        """Append a text, which includes its line feeds."""
        if self._file is None:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            self._file = open(self._path, "w", encoding="utf-8", buffering=1)  # noqa: SIM115 - closed in close()
            self._file.write(self._head)
        self._file.write(text)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


class EventWriter:
    """Writes a new event file for TensorBoard.

    TensorFlow's own has a thread, whose errors come with a traceback of its own when the disk is full.
    """

    def __init__(self, folder: str, v1: Any):
        """Begin a file in a folder; `v1` is TensorFlow's version 1 API. Methods raise ZooError if writing fails."""
        now = time.time_ns()  # a resumed run may begin within the second that names the file
        self._path = os.path.join(folder, f"events.out.tfevents.{now // 10 ** 9}.{platform.node()}.{now}")
        self._v1 = v1
        self._writer = v1.python_io.TFRecordWriter(self._path)
        self._write(file_version="brain.Event:2")

    def add(self, step: int, values: Sequence[Any]) -> None:
        """Write values, which are of `v1.Summary.Value`, of a step."""
        self._write(step=step, summary=self._v1.Summary(value=values))

    def _write(self, **content: Any) -> None:
        self._try(self._writer.write, self._v1.Event(wall_time=time.time(), **content).SerializeToString())
        self._try(self._writer.flush)

    def close(self) -> None:
        """Close the file."""
        self._try(self._writer.close)

    def _try(self, function: Any, *arguments: Any) -> None:
        try:
            function(*arguments)
        except self._v1.errors.OpError as error:
            reason = error.message.rpartition("; ")[2]
            raise ZooError(f"{self._path}: cannot be written ({reason}); free disk space and start the run again"
                           ) from None


class EventFile:
    """A run for TensorBoard: its settings, in the format of the hparams plugin, and the numbers of all rows."""

    def __init__(self, folder: str, v1: Any, arguments: Mapping[str, Any]):
        """Start a new file in a folder, in place of earlier ones, whose rows are replayed.

        `arguments` are those of arguments.json; without tensorboard the file lacks them.
        """
        for old in glob.glob(os.path.join(glob.escape(folder), "events.out.tfevents.*")):
            os.remove(old)
        self._writer, self._value = EventWriter(folder, v1), v1.Summary.Value
        self.close, self._hparams = self._writer.close, None
        with contextlib.suppress(ImportError):
            from tensorboard.plugins.hparams import summary

            self._hparams = summary
            settings = {name: value for name, value in arguments["identity"].items()
                        if isinstance(value, (bool, int, float, str))}
            started = time.mktime(time.strptime(arguments["started"], TIME_FORMAT))
            self._writer.add(0, summary.session_start_pb(
                dict(settings, num_updates=arguments["num_updates"]), start_time_secs=started).value)

    def add(self, row: Row) -> None:
        """Write the numbers of a row, tagged `<kind>/<key>`."""
        values = [self._value(tag=f"{row['kind']}/{key}", simple_value=value) for key, value in row.items()
                  if key not in ("kind", "step") and is_number(value)]
        if row["kind"] == "final" and self._hparams:
            values += self._hparams.session_end_pb(_SUCCESS).value
        self._writer.add(row["step"], values)


def beginning(run_path: str) -> dict[str, float]:
    """Return the seconds before the first step of a run, and of that step with all that is compiled in it."""
    first = next(read_rows(run_path, "step"), None)
    if first is None:
        return {}
    return dict(startup_seconds=round(max(0.0, first["seconds"] - first["step_seconds"]), 3),
                first_step_seconds=first["step_seconds"])


def median_step_seconds(run_path: str) -> float | None:
    """Return the median of the steps after min(10, steps // 2) warm-up steps, None if fewer than two remain."""
    durations = [row["step_seconds"] for row in read_rows(run_path, "step")]
    timed = durations[min(_MAX_WARM_UP_STEPS, len(durations) // 2):]
    return statistics.median(timed) if len(timed) >= 2 else None


def is_number(value: Any) -> bool:
    """Whether a value of a row is a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def format_number(value: float | None, decimals: int) -> str:
    """Format a number; None and NaN give `n/a`."""
    return "n/a" if value is None or math.isnan(value) else f"{value:.{decimals}f}"


class Curve(NamedTuple):
    """A value of the rows, plotted over the updates."""

    kind: str  # of the rows, step or eval
    key: str
    label: str


Panels = Mapping[str, Sequence[Curve]]  # curves by the title of their panel


def summary(step: int, values: Row, panels: Panels) -> str:
    """Describe an evaluation by the values that are plotted: "Step 20: accuracy 0.9 (validation), 0.8 (test)"."""
    shown = {panel: [f"{values[curve.key]:.4f} ({curve.label})" for curve in curves
                     if curve.kind == "eval" and curve.key in values] for panel, curves in panels.items()}
    return f"Step {step}: {', '.join(f'{panel} ' + ', '.join(parts) for panel, parts in shown.items() if parts)}"
