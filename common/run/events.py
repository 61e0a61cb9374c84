"""A file of TensorBoard events.

TensorFlow's own writer has a thread, whose errors come with a traceback of its own when the disk is full.
"""
from __future__ import annotations

import os
import platform
import time
from typing import Any, Sequence

from common.errors import ZooError

_FLUSH_SECONDS = 120.0


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
