"""What the files of runs say: the state and results of each, and a self-contained HTML page about one."""
from __future__ import annotations

import base64
import dataclasses
import fcntl
import json
import os
import shlex
import time
from typing import Any, Iterator

from common import atomic_files
from common.errors import ZooError
from common.run import metrics
from common.run.run_dir import ARGUMENTS, LOCK, PROJECTOR, TIME_FORMAT, is_run, read_arguments

NAME = "report.html"
MAX_PICTURES = 24
MAX_PICTURE_BYTES = 4 << 20
_SUFFIXES = {".png": "image/png", ".gif": "image/gif", ".jpg": "image/jpeg"}
_HIDDEN = ("kind", "seconds", "best", *metrics.BOOKKEEPING)
TEMPLATE = "report.html.jinja"


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


def write(run: RunSummary) -> str:
    """Write report.html into a run directory, with settings, results, curves, pictures and warnings; return its path.

    Raises ZooError if jinja2 is missing.
    """
    try:
        import jinja2
    except ImportError as error:
        raise ZooError(f"no report ({error}); pip install jinja2") from None
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
                                     loader=jinja2.FileSystemLoader(os.path.dirname(os.path.abspath(__file__))))
    text = environment.get_template(TEMPLATE).render(
        run=run, command=_command(run), metrics=list(_metrics(run)), warnings=_warnings(run),
        pictures=list(_pictures(run.path)), settings=_settings(run), machine=_machine(run),
        started=time.strftime("%Y-%m-%d %H:%M:%S", time.strptime(run.arguments["started"], TIME_FORMAT)),
        duration=f" in {run.final['e2e_seconds']:.0f} s" if run.final.get("e2e_seconds") else "")
    path = os.path.join(run.path, NAME)
    atomic_files.write_text(path, text)
    return path


def _command(run: RunSummary) -> str:
    """Return the command that repeats the run; runs of older versions did not store it, but all flags."""
    given = run.arguments.get("command") or [f"--{name}={value}" for name, value in
                                             sorted(run.arguments["flags"].items()) if value not in (None, "", False)]
    return " \\\n    ".join([f"zoo train {run.model}", *map(shlex.quote, given)])


def _metrics(run: RunSummary) -> Iterator[tuple[str, str]]:
    """Yield name and value of each result, with its standard deviation or error if that was measured."""
    results = {name: f"{value:.6g}" for name, value in {**run.evaluation, **run.final}.items()
               if name not in _HIDDEN and metrics.is_number(value)}
    for kind in ("std", "error"):
        for name in [name for name in results if f"{name}_{kind}" in results]:
            results[name] += f" ± {results.pop(f'{name}_{kind}')} ({kind})"
    for name, text in results.items():
        yield "Final Train Accuracy" if name == "accuracy" else name, text


def _warnings(run: RunSummary) -> list[str]:
    """Return the distinct warnings and notices of the log."""
    path = os.path.join(run.path, f"train_{run.arguments.get('device_id', '0')}.log")
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = [line.strip() for line in file if line.startswith(("Warning", "WARNING:", "Notice", "[Error]"))]
    return [line for line in dict.fromkeys(lines) if "absl::InitializeLog" not in line][:20]


def _pictures(run_path: str) -> Iterator[tuple[str, str]]:
    """Yield the curves and the newest picture of every folder and name, as data URLs."""
    paths = []
    for folder, folders, names in os.walk(run_path):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != PROJECTOR)
        paths += [os.path.join(folder, name) for name in sorted(names)
                  if os.path.splitext(name)[1].lower() in _SUFFIXES and not name.startswith(".")]
    newest: dict[tuple[str, str], str] = {}
    for path in sorted(paths, key=os.path.getmtime):
        newest[os.path.dirname(path), os.path.basename(path).rstrip("0123456789.pngif").rstrip("-")] = path
    chosen = sorted(newest.values(), key=lambda path: (os.path.basename(path) != "curves.png", path))
    for path in chosen[:MAX_PICTURES]:
        if os.path.getsize(path) <= MAX_PICTURE_BYTES:
            with open(path, "rb") as file:
                content = base64.b64encode(file.read()).decode("ascii")
            kind = _SUFFIXES[os.path.splitext(path)[1].lower()]
            yield os.path.relpath(path, run_path), f"data:{kind};base64,{content}"


def _settings(run: RunSummary) -> list[tuple[str, str]]:
    return [(name, json.dumps(value) if not isinstance(value, str) else value)
            for name, value in sorted(run.arguments["identity"].items()) if name not in ("data", "lfw")]


def _machine(run: RunSummary) -> list[tuple[str, Any]]:
    arguments, identity = run.arguments, run.arguments["identity"]
    return [("device", f"{identity.get('device')}, adapter {arguments.get('adapter') or 'none'}"),
            ("precision", identity.get("precision")), ("threads", arguments.get("threads")),
            ("platform", arguments.get("platform")), ("source revision", arguments.get("git_revision")),
            *sorted(arguments.get("versions", {}).items())]
