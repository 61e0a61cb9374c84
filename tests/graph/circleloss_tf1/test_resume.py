"""A run that was killed or stopped ends with the weights and numbers of one that was not."""
from __future__ import annotations

import os

import pytest

from tests.conftest import on_the_default_leg
from tests.graph.circleloss_tf1.conftest import train
from tests.kill_and_resume import SUBJECTS, KillTest
from tests.resuming import error_of_other_arguments, train_in_parts

pytestmark = pytest.mark.usefixtures("one_block")


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path):
    """Killed while it writes a checkpoint and at another moment; skipped images and augmentation included."""
    kill_test = KillTest(SUBJECTS["circleloss"], str(tmp_path))
    kill_test.check("killed", kills=3, log=lambda text: None)


FLAGS = ("--batch_size=4", "--recipe=corrected", "--image_size=32", "--epoch_size=4", "--random_flip", "--random_crop",
         "--keep_probability=0.7")


@pytest.fixture
def train_without_lfw(tiny_faces_folder):
    data = os.path.join(tiny_faces_folder, "MS-Celeb-1M_clean_align")
    return lambda output, *flags: train(data, output, *FLAGS, *flags)


def test_more_steps_continue_a_finished_run_in_the_middle_of_an_epoch(tmp_path, train_without_lfw, capfd):
    train_in_parts(train_without_lfw, tmp_path, capfd, 3, 6)


@on_the_default_leg
def test_other_arguments_are_refused_while_unfinished(tmp_path, train_without_lfw, capfd):
    def unfinished(output, *flags):
        return train_without_lfw(output, "--train_steps=1", *flags)

    assert "gamma: was 256.0, now 64.0" in error_of_other_arguments(unfinished, tmp_path, capfd, "--gamma=64")
