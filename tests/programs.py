"""Programs of the models and of common/: called in this process, or run in one of their own."""
from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any, Callable

from tests import ROOT

# variables that tell a process its device, its rank and its adapter
RANK_VARIABLES = ("ASCEND_DEVICE_ID", "RANK_ID", "RANK_SIZE", "RANK_TABLE_FILE", "CM_WORKER_SIZE", "CM_CHIEF_IP",
                  "CM_CHIEF_PORT", "CM_CHIEF_DEVICE", "CM_WORKER_IP", "NPU_LOOP_SIZE", "JOB_ID", "TF_CONFIG",
                  "ZOO_FAKE_ADAPTER", "ZOO_FAKE_PRODUCT")


def trainer(main: Callable, *defaults: str) -> Callable:
    """Return a function that trains in this process: `train(data, output, *flags)`, the exit status.

    Args:
        main: of a train entry.
        defaults: flags of every run; those of a call come later and win.
    """

    def train(data: Any, output: Any, *flags: str) -> int:
        return main([f"--data_path={data}", f"--output_path={output}", *defaults, *flags])

    return train


def printed(capfd: Any) -> Any:
    """Return the JSON that a program has just printed; it prints nothing else."""
    return json.loads(capfd.readouterr().out)


def one_line(error: str) -> str:
    """Return an error message; it must be one line, as a user's mistake deserves."""
    assert re.fullmatch(r"\[Error\] [^\n]+\n", error), error
    return error


def error_line(capfd: Any) -> str:
    """Return the one line that a program has just written to stderr."""
    return one_line(capfd.readouterr().err)


def environment(**variables: str) -> dict[str, str]:
    """Return this process' environment without a rank or an adapter, with this interpreter and some variables."""
    kept = {name: value for name, value in os.environ.items() if name not in RANK_VARIABLES}
    return {**kept, "PYTHON": sys.executable, **variables}


def run(*command: Any, cwd: Any = ROOT, timeout: float = 300, **variables: str) -> subprocess.CompletedProcess:
    """Run a command to its end; its output is text, in which bytes that are no UTF-8 are escaped."""
    return subprocess.run([str(word) for word in command], cwd=str(cwd), env=environment(**variables),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", errors="surrogateescape",
                          timeout=timeout, check=False)


def run_python(*arguments: Any, **variables: Any) -> subprocess.CompletedProcess:
    """Run this interpreter as `run` does; it finds the modules of the repository from any folder."""
    return run(sys.executable, *arguments, **{"PYTHONPATH": ROOT, **variables})


def git_status() -> list[str]:
    """Return what differs from the last commit in the folders with sources, also where git ignores it."""
    answer = run("git", "status", "--porcelain", "--ignored", "--", "common", ":(glob)*_tf*/**", "siamese_omniglot")
    return [line for line in answer.stdout.splitlines() if "__pycache__" not in line]


def tree(folder: Any) -> dict[str, int]:
    """Return the files below a folder with the times of their last change."""
    return {os.path.join(base, name): os.stat(os.path.join(base, name)).st_mtime_ns
            for base, _, names in os.walk(str(folder)) for name in names}
