"""Training runs in processes of their own."""
from __future__ import annotations

import json
import os
import subprocess
from typing import Any, Sequence


def start(words: Sequence[str]) -> subprocess.Popen:
    """Start a command without what tells a process its rank."""
    environment = {key: value for key, value in os.environ.items()
                   if key not in ("ASCEND_DEVICE_ID", "RANK_SIZE", "RANK_ID", "TF_CONFIG")}
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def losses(output: Any) -> list[float]:
    """Return the losses of the steps of the run in an output folder."""
    with open(os.path.join(str(output), "0", "metrics.jsonl"), encoding="utf-8") as file:
        return [row["loss"] for row in map(json.loads, file) if row["kind"] == "step"]
