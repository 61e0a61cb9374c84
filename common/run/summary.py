"""The runs in a folder, and the state and results of each, read from its files."""
from __future__ import annotations

import dataclasses
import fcntl
import os
import time
from typing import Any, Iterator

from common.errors import ZooError
from common.run import metrics
from common.run.run_dir import ARGUMENTS, LOCK, is_run, read_arguments


@dataclasses.dataclass(frozen=True)
class RunSummary:
    """The state and the results of a run, as its files describe it."""

    path: str  # the run directory
    arguments: dict[str, Any]  # content of arguments.json
    step: int  # updates recorded so far
    state: str  # "running", "finished" or "stopped"
    evaluation: dict[str, Any]  # the last row of kind eval; empty if there is none
    final: dict[str, Any]  # the row of kind final; empty unless the run is finished
    seconds_ago: float  # since the last row was written

    @property
    def model(self) -> str:
        """Folder of the model."""
        return self.arguments["identity"].get("model", "?")

    @property
    def recipe(self) -> str:
        """Name of the recipe."""
        return self.arguments["identity"].get("recipe", "?")


def summarise(path: str) -> RunSummary:
    """Read a run directory without changing it; ZooError if it is none, or its files are damaged."""
    if not is_run(path):
        raise ZooError(f"{path}: not a run directory (it has no {ARGUMENTS}); `zoo runs FOLDER` lists runs")
    arguments = read_arguments(path)
    row: dict[str, Any] = dict(step=0, kind="")
    evaluation: dict[str, Any] = {}
    for row in metrics.read_rows(path):
        if row["kind"] == "eval":
            evaluation = row
    final = row if row["kind"] == "final" else {}
    file = os.path.join(path, metrics.METRICS)
    modified = os.path.getmtime(file if os.path.exists(file) else path)
    state = "finished" if final else "running" if _is_locked(path) else "stopped"
    return RunSummary(path, arguments, row["step"], state, evaluation, final, time.time() - modified)


def find_runs(folder: str, depth: int = 4) -> Iterator[str]:
    """Yield the run directories in a folder, which may be one itself, by name; links are not followed."""
    if is_run(folder):
        yield folder
    elif depth and os.path.isdir(folder):
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        for name in names:
            yield from find_runs(os.path.join(folder, name), depth - 1)


def _is_locked(path: str) -> bool:
    try:
        with open(os.path.join(path, LOCK), "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
