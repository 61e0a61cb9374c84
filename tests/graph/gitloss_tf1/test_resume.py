"""A run that was killed or stopped ends with the weights and numbers of one that was not."""
from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from tests.conftest import on_the_default_leg
from tests.graph.gitloss_tf1.conftest import train
from tests.kill_and_resume import SUBJECTS, KillTest
from tests.programs import environment
from tests.results import assert_same_variables


@pytest.mark.slow
def test_stopped_and_killed_at_any_moment(tmp_path):
    """A run is stopped with SIGTERM once it has a checkpoint, killed while it writes one, killed at another moment, and
    finished; nothing differs from a run that was left alone.
    """
    kill_test = KillTest(SUBJECTS["gitloss"], str(tmp_path))
    process = subprocess.Popen(kill_test.command("killed"), env=environment(), stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not kill_test.checkpoints("killed"):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    assert b"Stopped by SIGTERM" in process.stderr.read()
    with open(os.path.join(kill_test.run_path("killed"), "train_0.log"), encoding="utf-8") as log:
        assert log.read().endswith("Stopped by SIGTERM.\n")

    hits = kill_test.check("killed", kills=2, log=lambda text: None)
    assert hits["writing"] >= 1 and hits["any"] >= 1


def test_more_steps_continue_a_finished_run_by_its_path(tmp_path, tiny_mnist_folder, capfd):
    """3 + 2 updates in two runs equal 5 in one; the lines of the first segment's end are rebuilt."""
    flags = ["--update_centers=100"]
    assert train(tiny_mnist_folder, tmp_path / "whole", "--train_steps=5", *flags) == 0
    assert train(tiny_mnist_folder, tmp_path / "parts", "--train_steps=3", *flags) == 0
    assert train(tiny_mnist_folder, tmp_path / "parts", "--train_steps=5", f"--resume={tmp_path / 'parts' / '0'}",
                 *flags) == 0
    assert "Resuming after 3 updates." in capfd.readouterr().out
    assert_same_variables(tmp_path / "whole" / "0", tmp_path / "parts" / "0")


@on_the_default_leg
def test_other_arguments_are_refused_while_unfinished(tmp_path, tiny_mnist_folder, capfd):
    assert train(tiny_mnist_folder, tmp_path, "--train_steps=2") == 0
    os.remove(str(tmp_path / "0" / "metrics.jsonl"))  # as if it had been killed
    assert train(tiny_mnist_folder, tmp_path, "--train_steps=2", "--lambda_g=0.5") == 1
    error = capfd.readouterr().err
    assert "lambda_g: was 1.0, now 0.5" in error and "--resume=never" in error
    assert train(tiny_mnist_folder, tmp_path, "--train_steps=2", "--lambda_g=0.5", "--resume=never") == 0
    assert len(os.listdir(str(tmp_path))) == 2
