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
from tests.resuming import error_of_other_arguments


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

    kill_test.check("killed", kills=3, log=lambda text: None)


@on_the_default_leg
def test_other_arguments_are_refused_while_unfinished(tmp_path, tiny_mnist_folder, capfd):
    def unfinished(output, *flags):
        return train(tiny_mnist_folder, output, "--train_steps=2", *flags)

    assert "lambda_g: was 1.0, now 0.5" in error_of_other_arguments(unfinished, tmp_path, capfd, "--lambda_g=0.5")
