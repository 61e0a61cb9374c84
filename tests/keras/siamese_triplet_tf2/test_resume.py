"""A run that was killed or stopped ends with the weights and numbers of one that was not."""
from __future__ import annotations

import json

import pytest

from common.cli.program import Stopped
from common.devices import selection
from common.run import run_dir
from siamese_triplet_tf2 import features
from tests.conftest import on_the_default_leg
from tests.keras.siamese_triplet_tf2.conftest import train
from tests.kill_and_resume import SUBJECTS, KillTest
from tests.resuming import error_of_other_arguments, train_in_parts


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path):
    """Five kills, in checkpoint writes, evaluations and other moments; features on disk are resumed too."""
    kill_test = KillTest(SUBJECTS["siamese_triplet"], str(tmp_path))
    kill_test.check("killed", kills=5, log=lambda text: None)


@pytest.mark.parametrize("flags", [["--cache_features=off", "--batch_statistics"],
                                   ["--cache_features=memory", "--loss_scale=dynamic", "--recipe=corrected"]])
def test_more_steps_continue_a_finished_run_by_its_path(tmp_path, look_alike_folder, capfd, flags):
    """Across the end of an epoch."""
    train_in_parts(lambda output, *more: train(look_alike_folder, output, *flags, *more), tmp_path, capfd, 4, 7)


@on_the_default_leg
def test_the_choice_of_auto_is_kept(tmp_path, look_alike_folder, monkeypatch):
    """A resumed run does not choose again when the amount of free memory has changed."""
    fill = features.KeptFeatures.fill

    def stop(self, *arguments):
        raise Stopped(15)

    monkeypatch.setattr(selection, "free_memory", lambda: 1)  # auto takes the disk
    monkeypatch.setattr(features.KeptFeatures, "fill", stop)
    assert train(look_alike_folder, tmp_path, "--train_steps=2") == 143
    assert run_dir.read_arguments(str(tmp_path / "0"))["cache_features"] == "disk"
    monkeypatch.setattr(selection, "free_memory", lambda: 10 ** 12)
    monkeypatch.setattr(features.KeptFeatures, "fill", fill)
    assert train(look_alike_folder, tmp_path, "--train_steps=2") == 0
    assert (tmp_path / "0" / "features" / "features.json").exists()


@on_the_default_leg
def test_other_arguments_are_refused_while_unfinished(tmp_path, look_alike_folder, capfd):
    def unfinished(output, *flags):
        return train(look_alike_folder, output, "--train_steps=2", *flags)

    assert "semi_hard: was False, now True" in error_of_other_arguments(unfinished, tmp_path, capfd, "--semi_hard")


def test_metrics_are_json_without_nan(full_run):
    for line in (full_run / "metrics.jsonl").read_text().splitlines():
        assert "NaN" not in line and json.loads(line)["step"] >= 1
