"""A run that was killed or stopped ends with the weights and numbers of one that was not."""
from __future__ import annotations

import os

import pytest

from tests.conftest import on_the_default_leg
from tests.graph.circleloss_tf1.conftest import train
from tests.kill_and_resume import SUBJECTS, KillTest
from tests.results import assert_same_variables

pytestmark = pytest.mark.usefixtures("one_block")


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path):
    """Killed while it writes a checkpoint and at another moment; skipped images and augmentation included."""
    kill_test = KillTest(SUBJECTS["circleloss"], str(tmp_path))
    hits = kill_test.check("killed", kills=2, log=lambda text: None)
    assert hits["writing"] >= 1 and hits["any"] >= 1


FLAGS = ("--batch_size=4", "--recipe=corrected", "--image_size=32", "--epoch_size=4", "--random_flip", "--random_crop",
         "--keep_probability=0.7")


def test_more_steps_continue_a_finished_run_in_the_middle_of_an_epoch(tmp_path, tiny_faces_folder, capfd):
    """3 + 3 updates in two runs equal 6 in one."""
    data = os.path.join(tiny_faces_folder, "MS-Celeb-1M_clean_align")
    assert train(data, tmp_path / "whole", *FLAGS, "--train_steps=6") == 0
    assert train(data, tmp_path / "parts", *FLAGS, "--train_steps=3", "--epochs=9") == 0
    assert train(data, tmp_path / "parts", *FLAGS, "--train_steps=6", f"--resume={tmp_path / 'parts' / '0'}") == 0
    assert "Resuming after 3 updates." in capfd.readouterr().out
    assert_same_variables(tmp_path / "whole" / "0", tmp_path / "parts" / "0")


@on_the_default_leg
def test_other_arguments_are_refused_while_unfinished(tmp_path, tiny_faces_folder, capfd):
    data = os.path.join(tiny_faces_folder, "MS-Celeb-1M_clean_align")
    assert train(data, tmp_path, *FLAGS, "--train_steps=1") == 0
    os.remove(str(tmp_path / "0" / "metrics.jsonl"))  # as if it had been killed
    assert train(data, tmp_path, *FLAGS, "--train_steps=1", "--gamma=64") == 1
    error = capfd.readouterr().err
    assert "gamma: was 256.0, now 64.0" in error and "--resume=never" in error
