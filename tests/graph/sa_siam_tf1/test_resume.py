"""A run that was killed or stopped ends with the weights and numbers of one that was not."""
from __future__ import annotations

import os

import pytest

from sa_siam_tf1 import log_lines
from tests.conftest import on_the_default_leg
from tests.graph.sa_siam_tf1.conftest import train
from tests.kill_and_resume import SUBJECTS, KillTest
from tests.results import assert_same_variables, last_variables


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path):
    """A run is killed while it writes a checkpoint and at another moment, and finished; nothing differs."""
    hits = KillTest(SUBJECTS["sa_siam"], str(tmp_path)).check("killed", kills=2, log=lambda text: None)
    assert hits["writing"] >= 1


def test_more_steps_continue_a_finished_run_by_its_path(tmp_path, tiny_videos, monkeypatch, capfd):
    """1 + 1 updates in two runs equal 2 in one, with another number of threads; text files are complete."""
    monkeypatch.setattr(log_lines, "LOG_INTERVAL", 1)
    monkeypatch.setattr(log_lines, "SUMMARY_INTERVAL", 1)
    flags = ["--batch_size=1", "--optimizer=MOMENTUM"]
    assert train(tiny_videos, tmp_path / "whole", "--steps=2", *flags) == 0
    assert train(tiny_videos, tmp_path / "parts", "--steps=1", *flags) == 0
    assert train(tiny_videos, tmp_path / "parts", "--steps=2", "--prefetch_threads=1",
                 f"--resume={tmp_path / 'parts' / '0'}", *flags) == 0
    out = capfd.readouterr().out
    assert "Resuming after 1 updates." in out
    assert f"\nRestore from last checkpoint: {tmp_path / 'parts' / '0' / 'ckpt' / 'model.ckpt-1'}\n" in out
    assert "sa_siam/appearance_net/conv1/weights/Momentum" in last_variables(tmp_path / "whole" / "0")
    assert_same_variables(tmp_path / "whole" / "0", tmp_path / "parts" / "0")
    for name, num_lines in (("appearance_npu.csv", 3), ("Siamese_ID1289_for_TensorFlow_bs1_1p_acc_loss.txt", 2)):
        whole, parts = ((tmp_path / folder / "0" / name).read_text() for folder in ("whole", "parts"))
        assert whole == parts and len(whole.splitlines()) == num_lines


@on_the_default_leg
def test_other_arguments_are_refused_while_unfinished(tmp_path, tiny_videos, capfd):
    assert train(tiny_videos, tmp_path, "--batch_size=1", "--steps=1") == 0
    os.remove(str(tmp_path / "0" / "metrics.jsonl"))  # as if it had been killed
    assert train(tiny_videos, tmp_path, "--batch_size=1", "--steps=1", "--initial_lr=0.02") == 1
    error = capfd.readouterr().err
    assert "initial_lr: was 0.01, now 0.02" in error and "--resume=never" in error
