"""A run that was killed or stopped ends with the weights and numbers of one that was not."""
from __future__ import annotations

import os

import pytest

from circleloss_tf1 import train_acc
from tests.conftest import on_the_default_leg
from tests.kill_and_resume import SUBJECTS, KillTest, checkpoint_values

pytestmark = pytest.mark.usefixtures("one_block")


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path):
    """Killed while it writes a checkpoint and at another moment; skipped images and augmentation included."""
    kill_test = KillTest(SUBJECTS["circleloss"], str(tmp_path))
    hits = kill_test.check("killed", kills=2, log=lambda text: None)
    assert hits["writing"] >= 1 and hits["any"] >= 1


def run(data, output, *flags):
    return train_acc.main([f"--data_path={data}", f"--output_path={output}", "--device=cpu", "--batch_size=4",
                           "--model_def=models.resnet10", "--recipe=corrected", "--image_size=32", "--epoch_size=4",
                           "--random_flip", "--random_crop", "--keep_probability=0.7", *flags])


def test_more_steps_continue_a_finished_run_in_the_middle_of_an_epoch(tmp_path, tiny_faces_folder, capfd):
    """3 + 3 updates in two runs equal 6 in one."""
    data = os.path.join(tiny_faces_folder, "MS-Celeb-1M_clean_align")
    assert run(data, tmp_path / "whole", "--train_steps=6") == 0
    assert run(data, tmp_path / "parts", "--train_steps=3", "--epochs=9") == 0
    assert run(data, tmp_path / "parts", "--train_steps=6", f"--resume={tmp_path / 'parts' / '0'}") == 0
    assert "Resuming after 3 updates." in capfd.readouterr().out
    whole, parts = (checkpoint_values(str(tmp_path / name / "0")) for name in ("whole", "parts"))
    assert set(whole) == set(parts)
    different = [name for name in whole if whole[name].tobytes() != parts[name].tobytes()]
    assert not different


@on_the_default_leg
def test_other_arguments_are_refused_while_unfinished(tmp_path, tiny_faces_folder, capfd):
    data = os.path.join(tiny_faces_folder, "MS-Celeb-1M_clean_align")
    assert run(data, tmp_path, "--train_steps=1") == 0
    os.remove(str(tmp_path / "0" / "metrics.jsonl"))  # as if it had been killed
    assert run(data, tmp_path, "--train_steps=1", "--gamma=64") == 1
    error = capfd.readouterr().err
    assert "gamma: was 256.0, now 64.0" in error and "--resume=never" in error
