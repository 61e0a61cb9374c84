"""Training runs in processes of their own."""
from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Mapping, Sequence

from tests import ROOT, fakes, programs

RANK_TABLE = dict(version="1.0", server_count="1", status="completed", server_list=[dict(server_id="10.0.0.1", device=[
    dict(device_id=str(rank), device_ip=f"192.168.100.10{rank}", rank_id=str(rank)) for rank in range(2)])])
_ON_FAKE_NPU = """
import importlib, json, sys
sys.path.insert(0, {root!r})
status = importlib.import_module({entry!r}).main(sys.argv[1:])
from adapter_record import process
if status:
    sys.exit(status)
print(json.dumps(dict(status=status, calls=process.calls, graphs=process.graphs, openings=[
    [opening.device_id, opening.num_as_default, opening.options["precision_mode"]] for opening in process.openings])))
"""


def start(words: Sequence[str], **variables: str) -> subprocess.Popen:
    """Start a command without what tells a process its rank, but with some variables."""
    return subprocess.Popen(words, env=programs.environment(**variables), cwd=ROOT, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


def is_keras_2() -> bool:
    """Whether optimizers have the methods in whose place the adapter puts its own; they went with Keras 2.11."""
    import tensorflow as tf

    return hasattr(tf.keras.optimizers.SGD(), "get_gradients")


def run_on_fake_npu(entry: str, folder: Any, arguments: Sequence[str], **environment: str
                    ) -> subprocess.CompletedProcess:
    """Run a train entry in a process whose adapter is a fake.

    Args:
        entry: its module.
        folder: to make, for the fake.
        arguments: the entry's.
        environment: set on top.

    Returns:
        The process; the last line that it prints is JSON: status, calls, graphs and openings that the fake has seen.
    """
    process = _start_on_fake_npu(entry, folder, arguments, environment)
    out, error = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, error)


def run_on_two_fake_npus(entry: str, folder: Any, *arguments: Sequence[str]) -> list[dict]:
    """Run a train entry as two ranks whose fakes give each other what they add up and broadcast.

    Args:
        entry: its module.
        folder: to make, for the fakes.
        arguments: the entry's, of all ranks, or of each rank.

    Returns:
        For each rank what the fake has seen: status, calls, graphs and openings.
    """
    seen = []
    for process in start_on_two_fake_npus(entry, folder, arguments):
        out, error = process.communicate(timeout=300)
        assert process.returncode == 0, error.decode()
        seen.append(json.loads(out.decode().splitlines()[-1]))
    return seen


def start_on_two_fake_npus(entry: str, folder: Any, arguments: Sequence[Sequence[str]],
                           environments: Sequence[Mapping[str, str]] = ({},), adapter: str = "npu_device"
                           ) -> list[subprocess.Popen]:
    """Start an entry as two ranks; arguments and environments are of all ranks, or of each rank."""
    folder.mkdir()
    (folder / "table.json").write_text(json.dumps(RANK_TABLE))
    return [_start_on_fake_npu(entry, folder / f"rank-{rank}", arguments[rank % len(arguments)], dict(
        RANK_SIZE="2", RANK_ID=str(rank), ASCEND_DEVICE_ID=str(rank), RANK_TABLE_FILE=str(folder / "table.json"),
        **environments[rank % len(environments)]), adapter) for rank in range(2)]


def _start_on_fake_npu(entry: str, folder: Any, arguments: Sequence[str], environment: Mapping[str, str],
                       adapter: str = "npu_device") -> subprocess.Popen:
    folder.mkdir()
    base = fakes.environment(str(folder), "hicann", adapter)
    base.update(environment)
    return subprocess.Popen([sys.executable, "-c", _ON_FAKE_NPU.format(root=ROOT, entry=entry), *arguments], env=base,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
