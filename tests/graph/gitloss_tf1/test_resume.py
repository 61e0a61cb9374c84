"""A run that was killed or stopped ends with the weights and numbers of one that was not."""
from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from gitloss_tf1 import gitloss
from tests.kill_and_resume import SUBJECTS, KillTest, run_environment


@pytest.fixture(scope="module")
def kill_test(tmp_path_factory):
    return KillTest(SUBJECTS["gitloss"], str(tmp_path_factory.mktemp("kills")))


def test_killed_at_any_moment(kill_test):
    hits = kill_test.check("killed", kills=3, log=lambda text: None)
    assert hits["writing"] >= 1 and hits["any"] >= 1


def test_stopped_by_sigterm_saves_and_goes_on(kill_test):
    """The signal comes once training runs; the checkpoint of that very step is there, and the run goes on from it."""
    process = subprocess.Popen(kill_test.command("stopped"), env=run_environment(), stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE)
    metrics = os.path.join(kill_test.run_path("stopped"), "metrics.jsonl")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (os.path.exists(metrics) and kill_test.checkpoints("stopped")):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    assert b"SIGTERM" in process.stderr.read()
    log = os.path.join(kill_test.run_path("stopped"), "train_0.log")
    assert "[Error] SIGTERM" in open(log, encoding="utf-8").read()
    hits = kill_test.check("stopped", kills=0)
    assert hits == {"writing": 0, "any": 0, "finished": 0}


def run(data, output, *flags):
    return gitloss.main([f"--data_path={data}", f"--output_path={output}", "--device=cpu", "--batch_size=8", *flags])


def weights(output):
    from tests.kill_and_resume import checkpoint_values

    return checkpoint_values(str(output / "0"))


def test_more_steps_continue_a_finished_run_by_its_path(tmp_path, tiny_mnist_folder, capfd):
    """3 + 2 updates in two runs equal 5 in one; the lines of the first segment's end are rebuilt."""
    flags = ["--update_centers=100"]
    assert run(tiny_mnist_folder, tmp_path / "whole", "--train_steps=5", *flags) == 0
    assert run(tiny_mnist_folder, tmp_path / "parts", "--train_steps=3", *flags) == 0
    assert run(tiny_mnist_folder, tmp_path / "parts", "--train_steps=5", f"--resume={tmp_path / 'parts' / '0'}",
               *flags) == 0
    assert "Going on after 3 updates." in capfd.readouterr().out
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert set(whole) == set(parts) and all(whole[name].tobytes() == parts[name].tobytes() for name in whole)


def test_other_arguments_are_refused_while_unfinished(tmp_path, tiny_mnist_folder, capfd):
    assert run(tiny_mnist_folder, tmp_path, "--train_steps=2") == 0
    os.remove(str(tmp_path / "0" / "metrics.jsonl"))  # as if it had been killed
    assert run(tiny_mnist_folder, tmp_path, "--train_steps=2", "--lambda_g=0.5") == 1
    error = capfd.readouterr().err
    assert "lambda_g: it has 1.0, now 0.5" in error and "--resume=never" in error
    assert run(tiny_mnist_folder, tmp_path, "--train_steps=2", "--lambda_g=0.5", "--resume=never") == 0
    assert len(os.listdir(str(tmp_path))) == 2
