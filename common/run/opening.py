"""Opening a run: its directory is locked, and a run in it is resumed or archived.

Archiving is renaming within the parent folder. All that the process and its children print goes to the log as well.
"""
from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import re
import shlex
import subprocess
import time
import traceback
import zlib
from typing import Any, Iterator, Mapping, Sequence

import numpy as np

from common import atomic_files
from common.cli.program import Stopped
from common.devices import npu_options, selection
from common.errors import ZooError
from common.run import console_log
from common.run.run_dir import ARGUMENTS, RunRequest, is_finished, is_run, read_arguments

_LOCK = ".lock"
_TEMPORARY = re.compile(r"\..*\.\d+\.tmp(\.weights\.h5)?|.*\.matplotlib-lock")


class Run:
    """An open run: of rank 0 with its directory, of another rank with the folder of its log.

    Attributes:
        request: what was asked for.
        device: the device, settled.
        precision: the precision in effect.
        path: the run directory.
        arguments: content of arguments.json.
        resumed: whether an earlier run is resumed.
        checksum: CRC-32 of what all ranks must share.
    """

    def __init__(self, request: RunRequest, device: selection.Device, tensorflow: str, identity: Mapping[str, Any]):
        """Describe a run that is not opened yet.

        Args:
            request: what was asked for.
            device: the settled device.
            tensorflow: TensorFlow's version.
            identity: what the model adds to what a run must share with one that it resumes: switches, data
                fingerprint and so on. JSON values by name.
        """
        flags = request.flags
        self.request, self.device, self.path, self.resumed = request, device, request.path, False
        mode = flags.precision_mode or (request.gpu_precision if device.kind == "gpu" else None)
        self.precision = selection.precision_in_effect(device, mode, request.options.precision_mode)
        self.arguments: dict[str, Any] = dict(
            flags={name: flags[name].value for name in sorted(flags)}, threads=selection.num_cpus(),
            device_id=device.id, adapter=device.adapter, platform=platform.platform(),
            versions=dict(python=platform.python_version(), tensorflow=tensorflow, numpy=np.__version__),
            git_revision=_git_revision(request.root),
            identity=dict(identity, model=os.path.basename(request.root), recipe=flags.recipe, seed=flags.seed,
                          batch_size=flags.batch_size, precision=self.precision, device=device.kind,
                          tensorflow=tensorflow),
            num_updates=request.num_updates, performance=request.performance, started=_now(), segments=[_now()])
        shared = [self.arguments[key] for key in ("identity", "num_updates", "performance")]
        self.checksum = zlib.crc32(json.dumps(shared, sort_keys=True).encode("utf-8"))

    @property
    def debug_options(self) -> npu_options.NpuOptions:
        """The dumps and profiles to make in this process; none on an NPU, where the adapter makes them."""
        options = self.request.options
        return options.without_diagnosis() if self.device.kind == "npu" else options

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
        """Store what an `auto` was resolved to, for processes that resume the run."""
        if self.arguments.get(key) != value:
            self.arguments[key] = value
            self.write_arguments()

    def write_arguments(self) -> None:
        """Write arguments.json."""
        atomic_files.write_json(os.path.join(self.path, ARGUMENTS), self.arguments)


@contextlib.contextmanager
def open_run(request: RunRequest, device: selection.Device, tensorflow: str, identity: Mapping[str, Any],
             notices: Sequence[str]) -> Iterator[Run]:
    """Open a run and print its first lines; all output goes to the log as well until the block ends.

    Args:
        request: what was asked for.
        device: the settled device.
        tensorflow: TensorFlow's version.
        identity: see `Run`.
        notices: lines to print after the first.

    Raises:
        ZooError: the directory is not ours, is in use, or holds an unfinished run with other arguments.
    """
    run = Run(request, device, tensorflow, identity)
    with (_locked_run if request.rank.is_chief else _locked_log)(run) as archive_notices, \
            _logged(os.path.join(run.path, f"train_{request.id}.log")):
        print(selection.describe(device, tensorflow, run.precision))
        if request.rank.is_chief:
            print(f"Python {platform.python_version()} ({request.command[0]})")
            print(f"Run directory: {run.path}" + (" (resumed)" if run.resumed else ""))
            notices = [*npu_options.without_effect(request.flags, device.kind), *notices]
        for notice in (*archive_notices, *notices):
            print(notice)
        if device.kind == "npu":
            request.options.make_folders()  # on other devices whatever needs them makes them
        yield run


@contextlib.contextmanager
def _locked_run(run: Run) -> Iterator[list[str]]:
    """Lock the run directory, and resume or archive the run in it; yield notices."""
    notices = []
    lock = _lock(run.path)
    try:
        earlier = read_arguments(run.path) if is_run(run.path) else None
        if earlier and _is_resumed(run, earlier):
            _clear_temporaries(run.path)
            run.resumed = True
            run.arguments = dict(earlier, num_updates=run.request.num_updates,
                                 segments=earlier["segments"] + [_now()])
        elif earlier:
            notices.append(f"The earlier run is kept as {_archive(run.path, earlier)}.")
            archived_lock, lock = lock, _lock(run.path)
            os.close(archived_lock)
        run.write_arguments()
        yield notices
    finally:
        os.close(lock)


def _is_resumed(run: Run, earlier: dict[str, Any]) -> bool:
    """Decide between resuming (True) and archiving (False); raise where the user must decide."""
    request = run.request
    is_explicit = request.flags.resume not in ("auto", "never")
    if not is_explicit and (request.flags.resume == "never" or request.performance or earlier["performance"]
                            or is_finished(run.path)):
        return False
    differences = "; ".join(_differences(run.arguments, earlier))
    if differences and is_explicit:
        raise ZooError(f"{run.path}: is a run with other arguments ({differences}); give the same ones to resume it")
    if differences:
        command = " ".join(shlex.quote(word) for word in (*request.command, "--resume=never"))
        raise ZooError(f"{run.path}: holds an unfinished run with other arguments ({differences}); give the same "
                       f"ones to resume it, or archive it with: {command}")
    return True


def _differences(now: dict[str, Any], earlier: dict[str, Any]) -> list[str]:
    before, after = dict(earlier["identity"]), now["identity"]
    before.pop("compute_dtype", None)  # of older runs, always float32
    changed = [name for name in sorted(set(before) | set(after)) if before.get(name) != after.get(name)]
    differences = [f"{name}: it has {before.get(name)}, now {after.get(name)}" for name in changed]
    if earlier["performance"] != now["performance"]:
        differences.append(f"performance: it has {earlier['performance']}, now {now['performance']}")
    if now["num_updates"] < earlier["num_updates"]:
        differences.append(f"updates: it has {earlier['num_updates']}, now {now['num_updates']}")
    return differences


def _archive(path: str, arguments: dict[str, Any]) -> str:
    base = f"{path}.{arguments['started']}"
    target, count = base, 1
    while os.path.lexists(target):
        count += 1
        target = f"{base}.{count}"
    os.rename(path, target)
    return target


def _clear_temporaries(path: str) -> None:
    """Remove what a killed process left: half-written files of ours, and a lock that matplotlib would wait for."""
    for folder, _, names in os.walk(path):
        for name in names:
            if _TEMPORARY.fullmatch(name):
                os.remove(os.path.join(folder, name))


def _lock(path: str) -> int:
    """Make the directory if need be and lock it; return the lock's file descriptor.

    The lock file moves with its directory, so after locking it must still be the one in the directory.
    """
    while True:
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as error:
            raise ZooError(f"{path}: cannot be made ({error.strerror}: {error.filename}); give another --output_path"
                           ) from None
        names = sorted(os.listdir(path))
        ours = (_LOCK, f".{ARGUMENTS}")  # left by a process that was killed before it wrote arguments.json
        foreign = [name for name in names if not name.startswith(ours)]
        if foreign and ARGUMENTS not in names:
            raise ZooError(f"{path}: holds {foreign[0]!r} and no {ARGUMENTS}, so it is no run of ours and is left "
                           "alone; give another --output_path")
        lock = os.open(os.path.join(path, _LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), os.stat(os.path.join(path, _LOCK))):
                return lock
        except BlockingIOError:
            os.close(lock)
            raise ZooError(f"{path}: another run is using it; wait for it, or set another ASCEND_DEVICE_ID or "
                           "--output_path") from None
        except FileNotFoundError:  # renamed between open and lock
            pass
        os.close(lock)


@contextlib.contextmanager
def _locked_log(run: Run) -> Iterator[list[str]]:
    """Lock the log of a rank other than 0, `<rank>/train_<rank>.log` beside rank 0's run; yield no notices.

    Raises:
        ZooError: that folder is a run or holds something else, or another process writes there.
    """
    folder, name = run.path, f"train_{run.request.id}.log"
    foreign = sorted(set(os.listdir(folder)) - {name, *npu_options.FOLDERS}) if os.path.isdir(folder) else []
    if foreign:
        what = "is a run" if is_run(folder) else f"holds {foreign[0]!r}"
        raise ZooError(f"{folder}: {what}, and the log of rank {run.request.rank.number} belongs there; move it away "
                       "or give another --output_path")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "ab") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ZooError(f"{os.path.join(folder, name)}: a rank of another job writes there; wait for it, or give "
                           "another --output_path") from None
        yield []


@contextlib.contextmanager
def _logged(path: str) -> Iterator[None]:
    """Copy all that the process and its children print to a file as well, and the error that ends the block."""
    try:
        with console_log.copy_output(path):
            yield
    except BaseException as error:
        is_known = isinstance(error, (ZooError, Stopped))
        line = str(error) if isinstance(error, Stopped) else f"[Error] {error}"
        with open(path, "a", encoding="utf-8") as file:
            file.write(line + "\n" if is_known else traceback.format_exc())
        raise


def _git_revision(folder: str) -> str | None:
    """Return the revision of the sources, with `-dirty` behind it when they differ from it; None outside a checkout."""
    try:
        answer = subprocess.run(["git", "-C", folder, "describe", "--always", "--dirty", "--abbrev=40"],
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10, check=False,
                                env=dict(os.environ, GIT_OPTIONAL_LOCKS="0"))  # or git refreshes its index
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.decode("ascii", "replace").strip() or None


def _now() -> str:
    return time.strftime("%Y%m%d-%H%M%S")
