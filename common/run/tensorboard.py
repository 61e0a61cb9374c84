"""TensorBoard: a run's numbers and its settings, for the hparams tab in the format of its plugin.

TensorFlow's own event writer has a thread, whose errors come with a traceback of its own when the disk is full.
"""
from __future__ import annotations

import functools
import glob
import os
import platform
import time
from typing import Any, Sequence

from common.errors import ZooError
from common.run.metrics import Row, is_number
from common.run.run_dir import TIME_FORMAT, is_run, read_arguments

_FLUSH_SECONDS = 120.0
_PLUGIN = "hparams"
_START, _END = "_hparams_/session_start_info", "_hparams_/session_end_info"
_SUCCESS = 1  # tensorboard.plugins.hparams.api_pb2.STATUS_SUCCESS


class EventFile:
    """Events for TensorBoard: the settings of a run, and the numbers of all rows, tagged `<kind>/<key>`."""

    def __init__(self, folder: str, v1: Any):
        """Start a new file in place of earlier ones, whose rows are replayed.

        Args:
            folder: folder of the file, in the run directory.
            v1: TensorFlow's version 1 API.
        """
        for old in glob.glob(os.path.join(glob.escape(folder), "events.out.tfevents.*")):
            os.remove(old)
        self._writer = EventWriter(folder, v1)
        self._value, self._end = v1.Summary.Value, functools.partial(_finished, v1)
        self._writer.add(0, _started(os.path.dirname(folder), v1))
        self.flush, self.close = self._writer.flush, self._writer.close

    def add(self, row: Row) -> None:
        """Write the numbers of a row."""
        values = [self._value(tag=f"{row['kind']}/{key}", simple_value=value) for key, value in row.items()
                  if key not in ("kind", "step") and is_number(value)]
        self._writer.add(row["step"], values + (self._end() if row["kind"] == "final" else []))


class EventWriter:
    """Writes a new event file; what is written can be seen after two minutes or `flush`."""

    def __init__(self, folder: str, v1: Any):
        """Begin the file.

        Args:
            folder: folder of the file.
            v1: TensorFlow's version 1 API.
        """
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
        """Hand everything to the operating system.

        Raises:
            ZooError: the file cannot be written; so do all methods.
        """
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


def _started(run_path: str, v1: Any) -> list[Any]:
    """Return the settings that identify a run as values of a summary; none without tensorboard, or outside of a run.

    Args:
        run_path: the run directory.
        v1: TensorFlow's version 1 API.
    """
    plugin_data_pb2 = _protocol()
    if plugin_data_pb2 is None or not is_run(run_path):
        return []
    arguments = read_arguments(run_path)
    start = plugin_data_pb2.SessionStartInfo(
        start_time_secs=time.mktime(time.strptime(arguments["started"], TIME_FORMAT)))
    for name, value in dict(arguments["identity"], num_updates=arguments["num_updates"]).items():
        if isinstance(value, bool):
            start.hparams[name].bool_value = value
        elif is_number(value):
            start.hparams[name].number_value = value
        elif isinstance(value, str):
            start.hparams[name].string_value = value
    return _values(v1, _START, plugin_data_pb2.HParamsPluginData(session_start_info=start))


def _finished(v1: Any) -> list[Any]:
    """Return the end of a run as values of a summary; none without tensorboard."""
    plugin_data_pb2 = _protocol()
    if plugin_data_pb2 is None:
        return []
    end = plugin_data_pb2.SessionEndInfo(status=_SUCCESS, end_time_secs=time.time())
    return _values(v1, _END, plugin_data_pb2.HParamsPluginData(session_end_info=end))


def _protocol() -> Any:
    """Return the messages of the plugin; None without tensorboard, which is what would show them."""
    try:
        from tensorboard.plugins.hparams import plugin_data_pb2
    except ImportError:
        return None
    return plugin_data_pb2


def _values(v1: Any, tag: str, content: Any) -> list[Any]:
    value = v1.Summary.Value(tag=tag)
    value.metadata.plugin_data.plugin_name = _PLUGIN
    value.metadata.plugin_data.content = content.SerializeToString()
    return [value]
