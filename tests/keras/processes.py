"""Training runs in processes of their own."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any, Sequence

from tests import fakes
from tests.conftest import ROOT

_ON_FAKE_NPU = """
import importlib, json, sys
sys.path.insert(0, {root!r})
status = importlib.import_module({entry!r}).main(sys.argv[1:])
from adapter_record import process
if status:
    sys.exit(status)
print(json.dumps(dict(status=status, collectives=process.collectives, openings=[
    [opening.device_id, opening.num_as_default, opening.options["precision_mode"]] for opening in process.openings])))
"""


def start(words: Sequence[str], **variables: str) -> subprocess.Popen:
    """Start a command without what tells a process its rank, but with some variables."""
    environment = {key: value for key, value in os.environ.items()
                   if key not in ("ASCEND_DEVICE_ID", "RANK_SIZE", "RANK_ID", "TF_CONFIG")}
    environment.update(variables)
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def losses(output: Any) -> list[float]:
    """Return the losses of the steps of the run in an output folder."""
    with open(os.path.join(str(output), "0", "metrics.jsonl"), encoding="utf-8") as file:
        return [row["loss"] for row in map(json.loads, file) if row["kind"] == "step"]


def run_on_fake_npu(entry: str, folder: Any, arguments: Sequence[str], **environment: str
                    ) -> subprocess.CompletedProcess:
    """Run a train entry, one of several ranks or alone, in a process whose adapter is a fake.

    Args:
        entry: its module.
        folder: to make, for the fake.
        arguments: the entry's.
        environment: the rank's.

    Returns:
        The process; the last line that it prints is JSON: status, collectives and openings that the fake has seen.
    """
    folder.mkdir()
    base = fakes.environment(str(folder), "hicann", "npu_device")
    base.update(environment)
    return subprocess.run([sys.executable, "-c", _ON_FAKE_NPU.format(root=ROOT, entry=entry), *arguments], env=base,
                          check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
