"""The body of every ModelArts entry: data in, training through the model's own script, results out. No TensorFlow.

--data_url and --train_url may be folders, which are used in place (the platform mounts and copies them), or obs:// and
s3:// addresses, which are copied through moxing: the data and an earlier run before training, so that it can go on, the
results after each checkpoint and at the end, also when training failed.
"""
from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

from common.cli import program
from common.cli.parser import FlagSet
from common.cli.program import StopRequest
from common.errors import ZooError

POLL_SECONDS = 10.0
_REMOTE = ("obs://", "s3://")


def main(script: str, flag_set: FlagSet, argv: list[str] | None = None) -> int:
    """Run a model's script on ModelArts; return its exit status.

    Args:
        script: path of the model's test/*.sh.
        flag_set: the train entry's flags; flags of the platform that are not among them are logged and ignored.
        argv: the arguments, without the program's name.
    """
    arguments = sys.argv[1:] if argv is None else argv
    return program.run(lambda stop: _run(script, flag_set, arguments, stop))


def _run(script: str, flag_set: FlagSet, arguments: list[str], stop: StopRequest) -> int:
    known, ignored = split_known(flag_set, arguments)
    flag_set.parse(known)  # a wrong one is an error before anything is copied
    if ignored:
        print(f"Ignored, flags of the platform: {' '.join(ignored)}", flush=True)
    words = flag_set.words(known)
    data_path, output_path = words.pop("data_path", ""), words.pop("output_path", "")
    others = [f"--{name}={word}" for name, word in words.items()]
    results = _Results(output_path) if output_path.startswith(_REMOTE) else None
    with tempfile.TemporaryDirectory(prefix="zoo-data-", dir=_scratch()) as scratch:
        if data_path.startswith(_REMOTE):
            _copy(data_path, os.path.join(scratch, "data"))
            data_path = os.path.join(scratch, "data")
        output_path = results.local if results else output_path
        command = ["bash", script, f"--data_path={data_path}",
                   *([f"--output_path={output_path}"] if output_path else []), *others]
        try:
            return _train(command, results, stop)
        finally:
            if results:
                results.publish()
                shutil.rmtree(results.local)  # only when all of it is in the bucket


def split_known(flag_set: FlagSet, arguments: list[str]) -> tuple[list[str], list[str]]:
    """Separate the arguments that belong to known flags from those that the platform adds."""
    known: list[str] = []
    ignored: list[str] = []
    queue = list(arguments)
    while queue:
        argument = queue.pop(0)
        name = argument[2:].partition("=")[0] if argument.startswith("--") else ""
        target = known if flag_set.canonical(name) or argument in ("-h", "--help") else ignored
        target.append(argument)
        if "=" not in argument and queue and not queue[0].startswith("--"):
            target.append(queue.pop(0))
    return known, ignored


class _Results:
    """An output folder in a bucket, and its copy on this machine."""

    def __init__(self, remote: str):
        """Fetch what earlier runs left in the bucket."""
        self.remote = remote.rstrip("/")
        has_earlier = _moxing(remote).file.exists(self.remote)
        self.local = tempfile.mkdtemp(prefix="zoo-output-", dir=_scratch())
        if has_earlier:
            _copy(self.remote, self.local)
        self._published = set(os.listdir(self.local))

    def publish(self) -> None:
        """Copy the folder to the bucket.

        A run that was set aside here, `<id>` renamed to `<id>.<start time>`, is set aside there too: copied under its
        new name first, then its old files are removed, or they would mix with the new run's.

        Raises:
            ZooError: the copy failed; the results stay on this machine.
        """
        names = set(os.listdir(self.local))
        for name in sorted(names - self._published):
            run = name.partition(".")[0]
            if name != run and run in self._published:
                _copy(os.path.join(self.local, name), f"{self.remote}/{name}")
                _moxing(self.remote).file.remove(f"{self.remote}/{run}", recursive=True)
        self._published = names
        _copy(self.local, self.remote)

    def publish_checkpoint(self) -> None:
        """`publish`, but a failure is a warning: the copy at the end is the one that counts."""
        try:
            self.publish()
        except ZooError as error:
            print(f"Warning: {error}", flush=True)

    def checkpoints(self) -> set[str]:
        """The checkpoints that are there."""
        return {os.path.join(folder, name) for folder, _, names in os.walk(self.local) for name in names
                if name.endswith(".index")}


def _train(command: list[str], results: _Results | None, stop: StopRequest) -> int:
    """Run the script as a process of its own, so that results are copied even when it aborts."""
    seen = results.checkpoints() if results else set()
    process = subprocess.Popen(command, env=dict(os.environ, PYTHON=sys.executable))
    with stop.deferred():
        stopping = False
        while process.poll() is None:
            if stop.requested and not stopping:
                stopping = True
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(0.2 if stop.requested else POLL_SECONDS)
            except subprocess.TimeoutExpired:
                found = results.checkpoints() if results else seen
                if results and found != seen:
                    seen = found
                    results.publish_checkpoint()
        status = process.returncode
        return status if status >= 0 else 128 - status


def _copy(source: str, target: str) -> None:
    """Copy a folder between this machine and a bucket."""
    started = time.monotonic()
    moxing = _moxing(source if source.startswith(_REMOTE) else target)
    try:
        moxing.file.copy_parallel(source, target)
    except Exception as error:  # moxing raises what its transport raises
        raise ZooError(f"copying {source} to {target} failed, the source is left as it is ({type(error).__name__}: "
                       f"{error})") from error
    print(f"Copied {source} to {target} in {time.monotonic() - started:.0f} s", flush=True)


def _moxing(address: str) -> Any:
    try:
        import moxing
    except ImportError as error:
        raise ZooError(f"{address}: moxing is missing ({error}), which copies from and to OBS on ModelArts; elsewhere "
                       "give a local folder") from None
    return moxing


def _scratch() -> str:
    """ModelArts has its large local disk at /cache."""
    return "/cache" if os.access("/cache", os.W_OK) else tempfile.gettempdir()

