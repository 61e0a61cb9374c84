"""Opening a run: lock its directory, resume or archive the run in it, and copy all output to its log.

Archiving a run means renaming its directory within the parent folder.
"""
from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
import traceback
import zlib
from typing import Any, Iterator, Mapping, Sequence

import numpy as np

from common import atomic_files, console
from common.cli.program import Stopped
from common.devices import npu_options, selection
from common.errors import ZooError
from common.run.metrics import is_finished
from common.run.run_dir import ARGUMENTS, LOCK, TIME_FORMAT, RunRequest, is_run, read_arguments

_LATER_SWITCHES = {"exif_orientation": False}  # older runs, which do not store them, have these values
_COPIER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "copy_output.py")
_COPIER_SECONDS = 3.0  # for the copier to exit once the run has ended
_TEMPORARY = re.compile(r"\..*\.\d+\.tmp(\.weights\.h5)?")


class Run:
    """An open run. Rank 0 has the run directory, every other rank a folder for its log.

    Attributes:
        request: what the command line asks for.
        device: the settled device.
        precision: the precision in effect.
        path: the run directory.
        arguments: content of arguments.json.
        resumed: whether an earlier run is resumed.
        checksum: CRC-32 of the arguments that all ranks must share.
    """

    def __init__(self, request: RunRequest, device: selection.Device, tensorflow: str, identity: Mapping[str, Any]):
        """Describe the run, without touching its directory; arguments as those of `open_run`."""
        flags = request.flags
        self.request, self.device, self.path, self.resumed = request, device, request.path, False
        mode = flags.precision_mode or request.gpu_precision if device.kind == "gpu" else None
        self.precision = selection.precision_in_effect(device, mode, request.options.precision)
        self.arguments: dict[str, Any] = dict(
            command=list(request.arguments), flags={name: flags[name].value for name in sorted(flags)},
            threads=selection.num_cpus(),
            device_id=device.id, adapter=device.adapter, platform=platform.platform(),
            versions=dict(python=platform.python_version(), tensorflow=tensorflow, numpy=np.__version__),
            git_revision=_git_revision(request.root),
            identity=dict(identity, model=os.path.basename(request.root), recipe=flags.recipe, seed=flags.seed,
                          batch_size=flags.batch_size, precision=self.precision, device=device.kind,
                          tensorflow=tensorflow),
            num_updates=request.num_updates, performance=request.performance, started=_now(), segments=[_now()])
        self.arguments["identity"].update({name: True for name in ("deterministic", "jit_compile")
                                           if flags[name].value})
        shared = [self.arguments[key] for key in ("identity", "num_updates", "performance")]
        self.checksum = zlib.crc32(json.dumps(shared, sort_keys=True).encode("utf-8"))

    @property
    def debug_options(self) -> npu_options.NpuOptions:
        """The options for the dumps and profiles that this process writes; on an NPU the adapter writes them."""
        return npu_options.NpuOptions(None) if self.device.kind == "npu" else self.request.options

    def file(self, *names: str) -> str:
        """Return the path of a file in the run directory, creating its folder."""
        path = os.path.join(self.path, *names)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def folder(self, name: str) -> str:
        """Return the path of a folder in the run directory, creating it."""
        path = os.path.join(self.path, name)
        os.makedirs(path, exist_ok=True)
        return path

    def remember(self, key: str, value: Any) -> None:
        """Store the value that `auto` was resolved to, so that a resumed run uses it again."""
        if self.arguments.get(key) != value:
            self.arguments[key] = value
            self.write_arguments()

    def write_arguments(self) -> None:
        """Write arguments.json."""
        atomic_files.write_json(os.path.join(self.path, ARGUMENTS), self.arguments)


@contextlib.contextmanager
def open_run(request: RunRequest, device: selection.Device, tensorflow: str, identity: Mapping[str, Any],
             notices: Sequence[str]) -> Iterator[Run]:
    """Open a run and print its first lines and the notices. Until the block ends, all output is copied to the log.

    `identity` is the model's part of the identity, JSON values by name: switches, data fingerprint and so on. Only a
    run of the same identity is resumed. Raises ZooError if the directory is not a run, is in use, or holds an
    unfinished run with other arguments.
    """
    run = Run(request, device, tensorflow, identity)
    with (_locked_run if request.rank.is_chief else _locked_log)(run) as archive_notices, \
            _logged(os.path.join(run.path, f"train_{request.id}.log"), request.flags.verbose,
                    shows_stderr=request.rank.size == 1):  # what TensorFlow says of a lost rank is for the log
        print(selection.describe(device, tensorflow, run.precision))
        if request.rank.is_chief:
            print(f"Python {platform.python_version()} ({request.command[0]})")
            print(f"Run directory: {run.path}" + (" (resumed)" if run.resumed else ""))
            notices = [*npu_options.notices(request.flags, request.options, device.kind), *notices]
            if run.resumed and device.kind != "cpu" and not request.flags.deterministic:
                notices.append(f"Notice: on {device.kind.upper()}s, results may differ in the last bits from those of "
                               "an uninterrupted run; --deterministic makes them equal.")
        for notice in (*archive_notices, *notices):
            print(notice)
        request.options.make_folders()
        yield run


@contextlib.contextmanager
def _locked_run(run: Run) -> Iterator[list[str]]:
    """Lock the run directory and resume or archive the run in it; yield notices."""
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
            notices.append(f"The earlier run was archived as {_archive(run.path, earlier)}.")
            archived_lock, lock = lock, _lock(run.path)
            os.close(archived_lock)
        run.write_arguments()
        yield notices
    finally:
        os.close(lock)


def _is_resumed(run: Run, earlier: dict[str, Any]) -> bool:
    """Whether to resume the earlier run; otherwise it is archived. Raises where the user must decide."""
    request = run.request
    is_explicit = request.flags.resume not in ("auto", "never")
    if not is_explicit and (request.flags.resume == "never" or request.performance or earlier["performance"]
                            or is_finished(run.path)):
        return False
    differences = "; ".join(_differences(run.arguments, earlier))
    if differences and is_explicit:
        raise ZooError(f"{run.path}: a run with other arguments ({differences}); pass the same ones to resume it")
    if differences:
        command = " ".join(shlex.quote(word) for word in (*request.command, "--resume=never"))
        raise ZooError(f"{run.path}: holds an unfinished run with other arguments ({differences}); pass the same "
                       f"ones to resume it, or archive it with: {command}")
    return True


def _differences(now: dict[str, Any], earlier: dict[str, Any]) -> list[str]:
    before, after = dict(earlier["identity"]), now["identity"]
    before.pop("compute_dtype", None)  # written by older versions, always float32
    for name in set(after) & set(_LATER_SWITCHES):
        before.setdefault(name, _LATER_SWITCHES[name])
    changed = [name for name in sorted(set(before) | set(after)) if before.get(name) != after.get(name)]
    differences = [f"{name}: was {before.get(name)}, now {after.get(name)}" for name in changed]
    if earlier["performance"] != now["performance"]:
        differences.append(f"performance: was {earlier['performance']}, now {now['performance']}")
    if now["num_updates"] < earlier["num_updates"]:
        differences.append(f"updates: was {earlier['num_updates']}, now {now['num_updates']}")
    return differences


def _archive(path: str, arguments: dict[str, Any]) -> str:
    """Rename a run directory; return the new path."""
    base = target = f"{path}.{arguments['started']}"
    suffixes = itertools.count(2)
    while os.path.lexists(target):
        target = f"{base}.{next(suffixes)}"
    os.rename(path, target)
    return target


def _clear_temporaries(path: str) -> None:
    """Remove what a killed process left: temporary files, and a lock that matplotlib would wait for."""
    for folder, _, names in os.walk(path):
        for name in names:
            if _TEMPORARY.fullmatch(name):
                os.remove(os.path.join(folder, name))


def _lock(path: str) -> int:
    """Create the directory if it is missing and lock it; return the file descriptor of the lock.

    Another process may rename the directory meanwhile, so the locked file must still be the one in the directory.
    """
    while True:
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as error:
            raise ZooError(f"{path}: cannot be created ({error.strerror}: {error.filename}); choose another "
                           "--output_path") from None
        names = sorted(os.listdir(path))
        leftovers = (LOCK, f".{ARGUMENTS}")  # of a process that was killed before it wrote arguments.json
        foreign = [name for name in names if not name.startswith(leftovers)]
        if foreign and ARGUMENTS not in names:
            raise ZooError(f"{path}: holds {foreign[0]!r} and no {ARGUMENTS}, so it is not a run and is left alone; "
                           "choose another --output_path")
        lock = os.open(os.path.join(path, LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), os.stat(os.path.join(path, LOCK))):
                return lock
        except BlockingIOError:
            os.close(lock)
            raise ZooError(f"{path}: another run is using it; wait for it to end, or set another ASCEND_DEVICE_ID or "
                           "--output_path") from None
        except FileNotFoundError:  # renamed between open and lock
            pass
        os.close(lock)


@contextlib.contextmanager
def _locked_log(run: Run) -> Iterator[list[str]]:
    """Lock the log of a rank other than 0, `<rank>/train_<rank>.log` next to the run of rank 0; yield no notices."""
    folder, name = run.path, f"train_{run.request.id}.log"
    foreign = sorted(set(os.listdir(folder)) - {name, *npu_options.FOLDERS}) if os.path.isdir(folder) else []
    if foreign:
        what = "is a run" if is_run(folder) else f"holds {foreign[0]!r}"
        raise ZooError(f"{folder}: {what}, but is needed for the log of rank {run.request.rank.number}; move it away "
                       "or choose another --output_path")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "ab") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ZooError(f"{os.path.join(folder, name)}: in use by a rank of another job; wait for it to end, or "
                           "choose another --output_path") from None
        yield []


@contextlib.contextmanager
def _logged(path: str, is_verbose: bool, shows_stderr: bool) -> Iterator[None]:
    """Copy all output to a file as well, and the error that ends the block."""
    try:
        with copy_output(path, is_verbose, shows_stderr):
            yield
    except BaseException as error:
        is_known = isinstance(error, (ZooError, Stopped))
        line = str(error) if isinstance(error, Stopped) else f"[Error] {error}"
        with open(path, "a", encoding="utf-8") as file:
            file.write(line + "\n" if is_known else traceback.format_exc())
        raise


@contextlib.contextmanager
def copy_output(log_path: str, is_verbose: bool = False, shows_stderr: bool = True) -> Iterator[None]:
    """Copy all that is printed, also by children and C++ code, to a log as well.

    File descriptors 1 and 2 lead to a separate process (copy_output.py), and sys.stdout and sys.stderr to them. If
    `is_verbose`, a terminal gets what `console.detail` prints, too; stderr is not shown at all unless `shows_stderr`.
    """
    streams = sys.stdout, sys.stderr
    for stream in streams:
        stream.flush()
    originals = os.dup(1), os.dup(2)
    (out_read, out_write), (error_read, error_write) = os.pipe(), os.pipe()
    process = subprocess.Popen([sys.executable, "-I", "-S", _COPIER, log_path, str(error_read),
                                *([] if shows_stderr else ["hide-stderr"])], stdin=out_read,
                               pass_fds=(error_read,), start_new_session=True)
    os.dup2(out_write, 1)
    os.dup2(error_write, 2)
    for descriptor in (out_read, out_write, error_read, error_write):
        os.close(descriptor)
    terminal = originals[0] if os.isatty(originals[0]) else None
    sys.stdout, sys.stderr = (console.CopiedOutput(descriptor, terminal, is_verbose) for descriptor in (1, 2))
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = streams
        for descriptor, original in zip((1, 2), originals):
            os.dup2(original, descriptor)
            os.close(original)
        with contextlib.suppress(subprocess.TimeoutExpired):  # a child may outlive the run; its output is still copied
            process.wait(_COPIER_SECONDS)


def _git_revision(folder: str) -> str | None:
    """Return the revision of the sources, with the suffix `-dirty` if they were modified; None outside a checkout."""
    try:
        result = subprocess.run(["git", "-C", folder, "describe", "--always", "--dirty", "--abbrev=40"],
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10, check=False,
                                env=dict(os.environ, GIT_OPTIONAL_LOCKS="0"))  # else git rewrites its index
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.decode("ascii", "replace").strip() or None


def _now() -> str:
    return time.strftime(TIME_FORMAT)
