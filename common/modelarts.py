"""The body of every ModelArts entry: data in, training through the model's own script, results out. No TensorFlow.

--data_url and --train_url may be folders, which are used in place (the platform mounts and copies them), or obs:// and
s3:// addresses, which are copied through moxing: the data before training, the results after each checkpoint and at the
end, also when training failed.
"""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable

from common import program
from common.flag_set import FlagSet
from common.program import StopRequest, ZooError

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
    known, ignored = flag_set.split_known(arguments)
    if ignored:
        print(f"Ignored, flags of the platform: {' '.join(ignored)}", flush=True)
    data_path, train_url = _value(known, "data_path"), _value(known, "output_path")
    others = [flag for flag in known if not flag.startswith(("--data_path=", "--output_path="))]
    output_path = train_url
    if train_url.startswith(_REMOTE):
        _moxing(train_url)  # fail before training, not after it
        output_path = tempfile.mkdtemp(prefix="zoo-output-", dir=_scratch())
    if data_path.startswith(_REMOTE):
        local = tempfile.mkdtemp(prefix="zoo-data-", dir=_scratch())
        _copy(data_path, local)
        data_path = local
    command = ["bash", script, f"--data_path={data_path}", *([f"--output_path={output_path}"] if output_path else []),
               *others]
    remote = train_url if train_url.startswith(_REMOTE) else None
    status = 1
    try:
        status = _train(command, lambda: _copy_checkpoints(output_path, remote), output_path, stop)
    finally:
        if remote:
            _copy(output_path, remote)
    return status


def _train(command: list[str], on_checkpoint: Callable[[], None], output_path: str, stop: StopRequest) -> int:
    """Run the script as a process of its own, so that results are copied even when it aborts."""
    process = subprocess.Popen(command, env=dict(os.environ, PYTHON=sys.executable))
    seen = _checkpoints(output_path)
    with stop.deferred():
        stopping = False
        while process.poll() is None:
            if stop.requested and not stopping:
                stopping = True
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(0.2 if stop.requested else POLL_SECONDS)
            except subprocess.TimeoutExpired:
                found = _checkpoints(output_path)
                if found != seen:
                    seen = found
                    on_checkpoint()
        status = process.returncode
        return status if status >= 0 else 128 - status


def _checkpoints(output_path: str) -> set[str]:
    found = set()
    for folder, _, names in os.walk(output_path) if output_path else ():
        found |= {os.path.join(folder, name) for name in names if name.endswith(".index")}
    return found


def _copy_checkpoints(output_path: str, remote: str | None) -> None:
    if not remote:
        return
    try:
        _copy(output_path, remote)
    except ZooError as error:  # the copy at the end is the one that counts
        print(f"Warning: {error}", flush=True)


def _copy(source: str, target: str) -> None:
    """Copy a folder between this machine and a bucket."""
    started = time.monotonic()
    moxing = _moxing(source if source.startswith(_REMOTE) else target)
    try:
        moxing.file.copy_parallel(source, target)
    except Exception as error:  # moxing raises what its transport raises
        raise ZooError(f"copying {source} to {target} failed ({type(error).__name__}: {error})") from error
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


def _value(flags: list[str], name: str) -> str:
    return next((flag.partition("=")[2] for flag in flags if flag.startswith(f"--{name}=")), "")
