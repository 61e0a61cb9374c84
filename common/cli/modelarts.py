"""Body of the ModelArts entries: fetch the data, train with the model's own script, store the results.

--data_url and --train_url are folders, which the platform mounts and which are used in place, or obs:// and s3://
addresses. moxing copies from and to these: data and earlier runs before training, so that a run can be resumed, and
results after each checkpoint and at the end, even if training fails.
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
    """Run a model's test/*.sh on ModelArts; unknown flags are the platform's, which are logged and ignored."""
    arguments = sys.argv[1:] if argv is None else argv
    return program.run(lambda stop: _run(script, flag_set, arguments, stop))


def _run(script: str, flag_set: FlagSet, arguments: list[str], stop: StopRequest) -> int:
    ignored: list[str] = []
    words = flag_set.words(arguments, ignored)
    flag_set.parse(arguments, ignored=[])  # before anything is copied
    if ignored:
        print(f"Ignored, flags of the platform: {' '.join(ignored)}", flush=True)
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
                shutil.rmtree(results.local)  # not reached if copying fails


class _Results:
    """An output folder in a bucket, and its copy on this machine."""

    def __init__(self, remote: str):
        """Fetch the results of earlier runs from the bucket."""
        self.remote = remote.rstrip("/")
        has_earlier = _moxing(remote).file.exists(self.remote)
        self.local = tempfile.mkdtemp(prefix="zoo-output-", dir=_scratch())
        if has_earlier:
            _copy(self.remote, self.local)
        self._published = set(os.listdir(self.local))

    def publish(self) -> None:
        """Copy the folder to the bucket; if that fails, raise ZooError and keep the results here.

        A run that was archived here, by renaming `<id>` to `<id>.<start time>`, is archived there too: it is copied
        under its new name before the files under its old name are removed, which would mix with those of the new run.
        """
        names = set(os.listdir(self.local))
        for name in sorted(names - self._published):
            run = name.partition(".")[0]
            if name != run and run in self._published:
                _copy(os.path.join(self.local, name), f"{self.remote}/{name}")
                _moxing(self.remote).file.remove(f"{self.remote}/{run}", recursive=True)
        self._published = names
        _copy(self.local, self.remote)

    def checkpoints(self) -> set[str]:
        """Return the checkpoints in the local folder."""
        return {os.path.join(folder, name) for folder, _, names in os.walk(self.local) for name in names
                if name.endswith(".index")}


def _train(command: list[str], results: _Results | None, stop: StopRequest) -> int:
    """Run the script in a process of its own, so that results are copied even if it aborts."""
    published = results.checkpoints() if results else set()
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
                if results and results.checkpoints() != published:
                    published = results.checkpoints()
                    try:
                        results.publish()
                    except ZooError as error:  # they are copied again at the end
                        print(f"Warning: {error}", flush=True)
        status = process.returncode
        return status if status >= 0 else 128 - status


def _copy(source: str, target: str) -> None:
    """Copy a folder between this machine and a bucket."""
    started = time.monotonic()
    moxing = _moxing(source if source.startswith(_REMOTE) else target)
    try:
        moxing.file.copy_parallel(source, target)
    except Exception as error:  # moxing raises what its transport raises
        raise ZooError(f"copying {source} to {target} failed, the source is unchanged ({type(error).__name__}: "
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
    """Return a folder for large temporary files: on ModelArts the local disk is at /cache."""
    return "/cache" if os.access("/cache", os.W_OK) else tempfile.gettempdir()

