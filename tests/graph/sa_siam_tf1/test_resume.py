"""A run that was killed or stopped ends with the weights and numbers of one that was not."""
from __future__ import annotations

import pytest

from sa_siam_tf1 import log_lines
from tests.conftest import on_the_default_leg
from tests.graph.sa_siam_tf1.conftest import train
from tests.kill_and_resume import SUBJECTS, KillTest
from tests.results import last_variables
from tests.resuming import error_of_other_arguments, train_in_parts

pytestmark = pytest.mark.usefixtures("narrow")


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path):
    """A run is killed while it writes a checkpoint and at another moment, and finished; nothing differs."""
    KillTest(SUBJECTS["sa_siam"], str(tmp_path)).check("killed", kills=3, log=lambda text: None)


def test_more_steps_continue_a_finished_run_by_its_path(tmp_path, tiny_videos, monkeypatch, capfd):
    """With another number of threads; text files are complete."""
    monkeypatch.setattr(log_lines, "LOG_INTERVAL", 1)
    monkeypatch.setattr(log_lines, "SUMMARY_INTERVAL", 1)
    resumed = train_in_parts(
        lambda output, *flags: train(tiny_videos, output, "--batch_size=1", "--optimizer=MOMENTUM", *flags),
        tmp_path, capfd, 1, 2, ("--prefetch_threads=1",))
    assert f"\nRestore from last checkpoint: {resumed.parts / 'ckpt' / 'model.ckpt-1'}\n" in resumed.out
    assert "sa_siam/appearance_net/conv1/weights/Momentum" in last_variables(resumed.whole)
    for name, num_lines in (("appearance_npu.csv", 3), ("Siamese_ID1289_for_TensorFlow_bs1_1p_acc_loss.txt", 2)):
        whole, parts = ((run / name).read_text() for run in (resumed.whole, resumed.parts))
        assert whole == parts and len(whole.splitlines()) == num_lines


@on_the_default_leg
def test_other_arguments_are_refused_while_unfinished(tmp_path, tiny_videos, capfd):
    def unfinished(output, *flags):
        return train(tiny_videos, output, "--batch_size=1", "--steps=1", *flags)

    assert "initial_lr: was 0.01, now 0.02" in error_of_other_arguments(unfinished, tmp_path, capfd,
                                                                        "--initial_lr=0.02")
