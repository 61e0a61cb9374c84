"""TensorBoard: a run's numbers and its settings, for the hparams tab in the format of its plugin.

TensorFlow's own event writer has a thread, whose errors come with a traceback of its own when the disk is full.
"""
from __future__ import annotations

import glob
import os
import platform
import time
from typing import Any, Sequence

from common.errors import ZooError
from common.run.metrics import Row, is_number
from common.run.run_dir import TIME_FORMAT, is_run, read_arguments

_FLUSH_SECONDS = 120.0
_SUCCESS = 1  # tensorboard.plugins.hparams.api_pb2.STATUS_SUCCESS


class EventFile:
    """Events for TensorBoard: the settings of a run, and the numbers of all rows, tagged `<kind>/<key>`."""

    def __init__(self, folder: str, v1: Any):
        """Start a new file in a run directory's folder, in place of earlier ones, whose rows are replayed."""
        for old in glob.glob(os.path.join(glob.escape(folder), "events.out.tfevents.*")):
            os.remove(old)
        self._writer = EventWriter(folder, v1)
        self._value, run_path = v1.Summary.Value, os.path.dirname(folder)
        self._hparams = _hparams_of(run_path)
        if self._hparams:
            self._writer.add(0, _started(self._hparams, run_path))
        self.flush, self.close = self._writer.flush, self._writer.close

    def add(self, row: Row) -> None:
        """Write the numbers of a row."""
        values = [self._value(tag=f"{row['kind']}/{key}", simple_value=value) for key, value in row.items()
                  if key not in ("kind", "step") and is_number(value)]
        if row["kind"] == "final" and self._hparams:
            values += self._hparams.session_end_pb(_SUCCESS).value
        self._writer.add(row["step"], values)


class EventWriter:
    """Writes a new event file; what is written can be seen after two minutes or `flush`."""

    def __init__(self, folder: str, v1: Any):
        """Begin a file in a folder; `v1` is TensorFlow's version 1 API."""
        now = time.time_ns()  # a resumed run may begin within the second that names the file
        self._path = os.path.join(folder, f"events.out.tfevents.{now // 10 ** 9}.{platform.node()}.{now}")
        self._v1 = v1
        self._writer = v1.python_io.TFRecordWriter(self._path)
        self._flush_at = 0.0
        self._write(file_version="brain.Event:2")

    def add(self, step: int, values: Sequence[Any]) -> None:
        """Write values, which are of `v1.Summary.Value`, of a step."""
        self._write(step=step, summary=self._v1.Summary(value=values))

    def _write(self, **content: Any) -> None:
        event = self._v1.Event(wall_time=time.time(), **content)
        self._try(self._writer.write, event.SerializeToString())
        if time.monotonic() >= self._flush_at:
            self._flush_at = time.monotonic() + _FLUSH_SECONDS
            self.flush()

    def flush(self) -> None:
        """Hand everything to the operating system; as all methods, raise ZooError if the file cannot be written."""
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


def _hparams_of(run_path: str) -> Any:
    """Return the summaries of tensorboard, which shows settings; None without it or outside of a run."""
    try:
        from tensorboard.plugins.hparams import summary
    except ImportError:
        return None
    return summary if is_run(run_path) else None


def _started(hparams: Any, run_path: str) -> Any:
    """Return the settings that identify a run as values of a summary."""
    arguments = read_arguments(run_path)
    settings = dict(arguments["identity"], num_updates=arguments["num_updates"])
    started = time.mktime(time.strptime(arguments["started"], TIME_FORMAT))
    return hparams.session_start_pb({name: value for name, value in settings.items()
                                     if isinstance(value, (bool, int, float, str))}, start_time_secs=started).value
