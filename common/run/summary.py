"""What a run directory tells at a glance."""
from __future__ import annotations

import dataclasses
import fcntl
import os
import time
from typing import Any, Iterator

from common.errors import ZooError
from common.run import metrics
from common.run.run_dir import is_run, read_arguments

_LOCK = ".lock"


@dataclasses.dataclass(frozen=True)
class RunSummary:
    """A run, as its files describe it.

    Attributes:
        path: the run directory.
        arguments: content of arguments.json.
        step: updates made, as far as they are recorded.
        state: "running", "finished" or "stopped".
        evaluation: the last row of kind eval, empty without one.
        final: the row of kind final, empty for a run that has not finished.
        seconds_ago: since the last row was written.
    """

    path: str
    arguments: dict[str, Any]
    step: int
    state: str
    evaluation: dict[str, Any]
    final: dict[str, Any]
    seconds_ago: float

    @property
    def model(self) -> str:
        """Folder of the model."""
        return self.arguments["identity"].get("model", "?")

    @property
    def recipe(self) -> str:
        """Name of the recipe."""
        return self.arguments["identity"].get("recipe", "?")


def summarise(path: str) -> RunSummary:
    """Read a run directory; change nothing in it.

    Raises:
        ZooError: it is no run, or its files are damaged.
    """
    if not is_run(path):
        raise ZooError(f"{path}: is no run directory (it has no arguments.json); `zoo runs FOLDER` lists runs")
    arguments = read_arguments(path)
    step, evaluation, final = 0, {}, {}
    for row in metrics.read_rows(path):
        step = row["step"]
        if row["kind"] == "eval":
            evaluation = row
        elif row["kind"] == "final":
            final = row
    file = os.path.join(path, metrics.METRICS)
    changed = os.path.getmtime(file if os.path.exists(file) else path)
    state = "finished" if final else "running" if _is_locked(path) else "stopped"
    return RunSummary(path, arguments, step, state, evaluation, final, time.time() - changed)


def find_runs(folder: str, depth: int = 4) -> Iterator[str]:
    """Yield the run directories in a folder, itself included, in the order of their names.

    Args:
        folder: where to look; links are not followed.
        depth: levels of folders to look into.
    """
    if is_run(folder):
        yield folder
    elif depth and os.path.isdir(folder):
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        for name in names:
            yield from find_runs(os.path.join(folder, name), depth - 1)


def _is_locked(path: str) -> bool:
    try:
        with open(os.path.join(path, _LOCK), "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
