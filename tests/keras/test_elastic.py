"""A job that loses ranks asks to be started again, and resumes with fewer. Its losses are those of an undisturbed job
with the same history of ranks.
"""
from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, NamedTuple

import numpy as np
import pytest

from common.distributed import launcher
from common.tiny_data import look_alikes, omniglot
from tests import ROOT
from tests.processes import start
from tests.results import assert_same_variables, losses, rows

pytestmark = pytest.mark.slow
SECONDS_TO_NOTICE = 60
STEPS = 24


class Program(NamedTuple):
    """A model's entry with its flags, and what makes its data: epochs, which end with a checkpoint, of three steps."""

    entry: str
    flags: list[str]
    make_data: Callable[[str], Any]


PROGRAMS = {
    "omniglot": Program("siamese_omniglot/run_scripts/run_siamese_train.py",
                        ["--backbone=conv4", "--batch_size=32", "--lr=1e-4", "--num_workers=0", "--epochs=40"],
                        lambda folder: omniglot.make(folder, 2, 3, 20)),
    "triplet": Program("siamese_triplet_tf2/siamese_network.py", ["--backbone=tiny", "--batch_size=7",
                                                                  "--recipe=corrected", "--epochs=40"],
                       lambda folder: look_alikes.make(folder, num_pairs=20)),
}


def start_ranks(program: Program, data: Path, output: Path, num: int, *flags: str) -> list[subprocess.Popen]:
    """Start every rank as a scheduler does, without our launcher."""
    workers = [f"127.0.0.1:{port}" for port in launcher.free_ports(num)]
    words = [sys.executable, os.path.join(ROOT, program.entry), f"--data_path={data}", f"--output_path={output}",
             "--device=cpu", "--distributed", *program.flags, *flags]
    config = dict(cluster=dict(worker=workers))
    return [start(words, TF_CONFIG=json.dumps(dict(config, task=dict(type="worker", index=rank))))
            for rank in range(num)]


def train(program: Program, data: Path, output: Path, num: int, *flags: str) -> None:
    for process in start_ranks(program, data, output, num, *flags):
        _, error = process.communicate(timeout=400)
        assert process.returncode == 0, error.decode()


def lose_a_rank(program: Program, data: Path, output: Path, num: int, after: int) -> None:
    """Kill the last rank once some updates are made; the others must end soon, asking to be started again."""
    *others, lost = start_ranks(program, data, output, num, f"--train_steps={STEPS}")
    path = output / "0" / "metrics.jsonl"
    deadline = time.monotonic() + 200
    while not (path.exists() and f'"step": {after},' in path.read_text()):
        assert lost.poll() is None, lost.communicate()[1].decode()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    lost.kill()
    lost.communicate()
    began = time.monotonic()
    for rank, process in enumerate(others):
        _, error = process.communicate(timeout=SECONDS_TO_NOTICE)
        assert process.returncode == 75, error.decode()
        assert error.decode().splitlines()[-1].startswith(f"[Error] rank {rank}: another worker has ended")
    assert time.monotonic() - began < SECONDS_TO_NOTICE


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_a_job_resumes_with_fewer_ranks(tmp_path, name):
    """Three ranks lose one, the two that are left lose another, and the last one ends the run."""
    program, data = PROGRAMS[name], tmp_path / "data"
    program.make_data(str(data))
    output, whole = tmp_path / "disturbed", tmp_path / "undisturbed"
    lose_a_rank(program, data, output, 3, after=5)
    lose_a_rank(program, data, output, 2, after=11)
    train(program, data, output, 1, f"--train_steps={STEPS}")
    log = (output / "0" / "train_0.log").read_text()
    first, second = map(int, re.findall(r"Resuming after (\d+) updates", log))
    assert 0 < first < second < STEPS
    train(program, data, whole, 3, f"--train_steps={first}")
    for num, steps in ((2, second), (1, STEPS)):  # a finished run continues only if it is named
        train(program, data, whole, num, f"--train_steps={steps}", f"--resume={whole / '0'}")
    assert (whole / "0" / "train_0.log").read_text().count("Resuming after") == 2
    assert [row["step"] for row in rows(output / "0", "step")] == list(range(1, STEPS + 1))
    np.testing.assert_array_equal(losses(output / "0"), losses(whole / "0"))
    assert_same_variables(output / "0", whole / "0")
