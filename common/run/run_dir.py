"""The run directory: where a run writes, whether it goes on or begins anew, its lock and its log. No TensorFlow.

A directory is a run if it holds our arguments.json; nothing else is ever written to, moved or deleted. Setting aside
is renaming within the parent folder.
"""
from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import math
import os
import re
import shlex
import subprocess
import time
import traceback
from typing import Any, Iterator

from common import atomic_files
from common.cli.program import Stopped
from common.errors import ZooError
from common.run import console_log

ARGUMENTS = "arguments.json"
METRICS = "metrics.jsonl"
_LOCK = ".lock"
_ARGUMENT_TYPES = {"identity": dict, "num_updates": int, "performance": bool, "started": str, "segments": list,
                   "threads": int}
_TEMPORARY = re.compile(r"\..*\.\d+\.tmp(\.weights\.h5)?|.*\.matplotlib-lock")


@dataclasses.dataclass(frozen=True)
class Request:
    """What a train entry asks for when it opens its run directory.

    Attributes:
        path: the run directory, from `locate`.
        identity: all that a run must share with an earlier one to go on with it: recipe and switches, model, data
            fingerprint, seed, batch, precision, versions, device kind. JSON values by name.
        num_updates: the updates that the run is to make.
        performance: a speed run.
        resume: the value of --resume.
        information: further content of arguments.json (flags, versions, git revision, ...).
        command: the words of the command, to be shown in an error.
    """

    path: str
    identity: dict[str, Any]
    num_updates: int
    performance: bool
    resume: str
    information: dict[str, Any]
    command: tuple[str, ...]


class RunDir:
    """An open run directory; holds its lock until `close`."""

    def __init__(self, path: str, device_id: str, arguments: dict[str, Any], resumed: bool, lock_fd: int,
                 notices: list[str]):
        self.path = path
        self.device_id = device_id
        self.arguments = arguments
        self.resumed = resumed
        self.notices = notices
        self._lock_fd = lock_fd

    def file(self, *names: str) -> str:
        """Path of a file in the run directory; its folder is made."""
        path = os.path.join(self.path, *names)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def folder(self, name: str) -> str:
        """Path of a folder in the run directory; it is made."""
        path = os.path.join(self.path, name)
        os.makedirs(path, exist_ok=True)
        return path

    def remember(self, key: str, value: Any) -> None:
        """Store what `auto` was resolved to, for those who go on with the run."""
        if self.arguments.get(key) != value:
            self.arguments[key] = value
            atomic_files.write_json(os.path.join(self.path, ARGUMENTS), self.arguments)

    @contextlib.contextmanager
    def log(self) -> Iterator[None]:
        """Copy all that the process and its children print to `train_<id>.log` as well, and what ends the block."""
        with logged(self.file(f"train_{self.device_id}.log")):
            yield

    def close(self) -> None:
        """Give the lock back."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1


@contextlib.contextmanager
def logged(path: str) -> Iterator[None]:
    """Copy all that the process and its children print to a file as well, and what ends the block."""
    try:
        with console_log.copy_output(path):
            yield
    except BaseException as error:
        known = isinstance(error, (ZooError, Stopped))
        with open(path, "a", encoding="utf-8") as file:
            line = str(error) if isinstance(error, Stopped) else f"[Error] {error}"
            file.write(line + "\n" if known else traceback.format_exc())
        raise


def locate(output_path: str | None, model_root: str, device_id: str) -> str:
    """Return the run directory: `<output_path>/<device id>`, not repeated when the path already ends so."""
    parent = os.path.abspath(os.path.expanduser(output_path)) if output_path else os.path.join(model_root, "test",
                                                                                              "output")
    return parent if os.path.basename(parent) == device_id else os.path.join(parent, device_id)


def is_run(path: str) -> bool:
    """Whether a directory is a run of ours."""
    return os.path.isfile(os.path.join(path, ARGUMENTS))


def run_of_resume(resume: str) -> str | None:
    """Return the run directory that --resume=PATH names, None for auto and never.

    Raises:
        ZooError: the path is no run directory.
    """
    if resume in ("auto", "never"):
        return None
    path = os.path.abspath(os.path.expanduser(resume))
    if not is_run(path):
        raise ZooError(f"--resume={resume}: no run directory (it has no {ARGUMENTS}); expected auto, never or the "
                       "path of a run directory")
    return path


def open_run(request: Request, device_id: str) -> RunDir:
    """Open the run directory: go on with the run in it, or set that aside and begin a new one.

    Raises:
        ZooError: the directory is not ours, is in use, or holds an unfinished run with other arguments.
    """
    lock_fd = _lock(request.path)
    try:
        return _open_locked(request, device_id, lock_fd)
    except BaseException:
        os.close(lock_fd)
        raise


def _open_locked(request: Request, device_id: str, lock_fd: int) -> RunDir:
    notices: list[str] = []
    earlier = read_arguments(request.path) if is_run(request.path) else None
    if earlier and _goes_on(request, earlier):
        _clear_temporaries(request.path)
        arguments = dict(earlier, num_updates=request.num_updates, segments=earlier["segments"] + [_now()])
        atomic_files.write_json(os.path.join(request.path, ARGUMENTS), arguments)
        return RunDir(request.path, device_id, arguments, True, lock_fd, notices)
    if earlier:
        notices.append(f"The earlier run is kept as {_set_aside(request.path, earlier)}.")
        set_aside_fd, lock_fd = lock_fd, _lock(request.path)
        os.close(set_aside_fd)
    arguments = dict(request.information, identity=request.identity, num_updates=request.num_updates,
                     performance=request.performance, started=_now(), segments=[_now()])
    atomic_files.write_json(os.path.join(request.path, ARGUMENTS), arguments)
    return RunDir(request.path, device_id, arguments, False, lock_fd, notices)


def _clear_temporaries(path: str) -> None:
    """Remove what a kill left: our own half-written files, and a lock that matplotlib would wait for."""
    for folder, _, names in os.walk(path):
        for name in names:
            if _TEMPORARY.fullmatch(name):
                os.remove(os.path.join(folder, name))


def _goes_on(request: Request, earlier: dict[str, Any]) -> bool:
    """Decide between going on (True) and setting aside (False); raise where the user must decide."""
    explicit = request.resume not in ("auto", "never")
    if not explicit and (request.resume == "never" or request.performance or earlier["performance"]
                         or is_finished(request.path)):
        return False
    differences = "; ".join(_differences(request, earlier))
    if differences and explicit:
        raise ZooError(f"{request.path}: is a run with other arguments ({differences}); give the same ones to go on "
                       "with it")
    if differences:
        again = " ".join(shlex.quote(word) for word in (*request.command, "--resume=never"))
        raise ZooError(f"{request.path}: holds an unfinished run with other arguments ({differences}); give the same "
                       f"ones to go on with it, or set it aside with: {again}")
    return True


def _differences(request: Request, earlier: dict[str, Any]) -> list[str]:
    before, now = dict(earlier["identity"]), request.identity
    if before.get("compute_dtype") == "float32":  # written by versions that had it as a flag, with this one value
        del before["compute_dtype"]
    changed = [name for name in sorted(set(before) | set(now)) if before.get(name) != now.get(name)]
    differences = [f"{name}: it has {before.get(name)}, now {now.get(name)}" for name in changed]
    if earlier["performance"] != request.performance:
        differences.append(f"performance: it has {earlier['performance']}, now {request.performance}")
    if request.num_updates < earlier["num_updates"]:
        differences.append(f"updates: it has {earlier['num_updates']}, now {request.num_updates}")
    return differences


def _set_aside(path: str, arguments: dict[str, Any]) -> str:
    base = f"{path}.{arguments['started']}"
    target, number = base, 1
    while os.path.lexists(target):
        number += 1
        target = f"{base}.{number}"
    os.rename(path, target)
    return target


def _lock(path: str) -> int:
    """Make the directory if need be and lock it.

    The lock file lives in the directory and moves with it, so after locking one must look whether it is still there.
    """
    while True:
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as error:
            raise ZooError(f"{path}: cannot be made ({error.strerror}: {error.filename}); give another --output_path"
                           ) from None
        names = sorted(os.listdir(path))
        left_by_us = (_LOCK, f".{ARGUMENTS}")  # by a start that was killed before arguments.json stood
        foreign = [name for name in names if not name.startswith(left_by_us)]
        if foreign and ARGUMENTS not in names:
            raise ZooError(f"{path}: holds {foreign[0]!r} and no {ARGUMENTS}, so it is no run of ours and is left "
                           "alone; give another --output_path")
        fd = os.open(os.path.join(path, _LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(fd), os.stat(os.path.join(path, _LOCK))):
                return fd
        except BlockingIOError:
            os.close(fd)
            raise ZooError(f"{path}: another run is using it; wait for it, or set another ASCEND_DEVICE_ID or "
                           "--output_path") from None
        except FileNotFoundError:  # renamed away between open and lock
            pass
        os.close(fd)


def read_arguments(path: str) -> dict[str, Any]:
    """Read a run's arguments.json.

    Raises:
        ZooError: it is not what we write.
    """
    name = os.path.join(path, ARGUMENTS)
    try:
        with open(name, encoding="utf-8") as file:
            arguments = json.load(file)
        for key, kind in _ARGUMENT_TYPES.items():
            if not isinstance(arguments[key], kind):
                raise TypeError(f"{key} is no {kind.__name__}")
    except (ValueError, KeyError, TypeError) as error:
        raise ZooError(f"{name}: is not the file that a run writes ({error}); move the folder away or give another "
                       "--output_path") from None
    return arguments


def is_finished(path: str) -> bool:
    """Whether the run came to its end: its metrics end in a `final` row."""
    return any(row["kind"] == "final" for row in read_metrics(path))


def read_metrics(path: str) -> list[dict[str, Any]]:
    """Rows of a run's metrics.jsonl, null as NaN; a half-written last line, left by a kill, is passed over.

    Raises:
        ZooError: another line is damaged.
    """
    name = os.path.join(path, METRICS)
    if not os.path.exists(name):
        return []
    with open(name, encoding="utf-8", errors="replace") as file:
        lines = file.read().split("\n")
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            if line:
                row = json.loads(line)
                if not (isinstance(row["kind"], str) and isinstance(row["step"], int)
                        and isinstance(row["seconds"], (int, float))):
                    raise TypeError
                rows.append({key: math.nan if value is None else value for key, value in row.items()})
        except (ValueError, KeyError, TypeError):
            if number == len(lines):
                break
            raise ZooError(f"{name}: line {number} is damaged; --resume=never sets the run aside") from None
    return rows


def git_revision(folder: str) -> str | None:
    """Revision of the sources, with `-dirty` behind it when they differ from it; None outside a checkout."""
    try:
        answer = subprocess.run(["git", "-C", folder, "describe", "--always", "--dirty", "--abbrev=40"],
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10, check=False,
                                env=dict(os.environ, GIT_OPTIONAL_LOCKS="0"))  # or git refreshes its index
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.decode("ascii", "replace").strip() or None


def _now() -> str:
    return time.strftime("%Y%m%d-%H%M%S")
