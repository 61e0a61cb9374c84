"""A run that was killed or stopped ends with the weights and numbers of one that was not."""
from __future__ import annotations

import json

import pytest

from common.cli.program import Stopped
from common.run import run_dir
from siamese_triplet_tf2 import features
from tests.conftest import on_the_default_leg
from tests.keras.siamese_triplet_tf2.conftest import train
from tests.kill_and_resume import SUBJECTS, KillTest
from tests.results import assert_same_variables


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path):
    """Five kills, at random moments and while a checkpoint is written; features on disk go on too."""
    kill_test = KillTest(SUBJECTS["siamese_triplet"], str(tmp_path))
    hits = kill_test.check("killed", kills=5, log=lambda text: None)
    assert hits["writing"] >= 2 and hits["any"] >= 2


@pytest.mark.parametrize("flags", [["--cache_features=off", "--batch_statistics"],
                                   ["--cache_features=memory", "--loss_scale=dynamic", "--recipe=corrected"]])
def test_more_steps_continue_a_finished_run_by_its_path(tmp_path, look_alike_folder, capfd, flags):
    """4 + 3 updates in two runs, across an epoch's end, equal 7 in one."""
    assert train(look_alike_folder, tmp_path / "whole", "--train_steps=7", *flags) == 0
    assert train(look_alike_folder, tmp_path / "parts", "--train_steps=4", *flags) == 0
    assert train(look_alike_folder, tmp_path / "parts", "--train_steps=7", f"--resume={tmp_path / 'parts' / '0'}",
                 *flags) == 0
    assert "Resuming after 4 updates." in capfd.readouterr().out
    assert_same_variables(tmp_path / "whole" / "0", tmp_path / "parts" / "0")


@on_the_default_leg
def test_what_auto_chose_is_kept(tmp_path, look_alike_folder, monkeypatch):
    """A resumed run does not choose again, when the memory that is free has changed meanwhile."""
    fill = features.KeptFeatures.fill

    def stop(self, *arguments):
        raise Stopped(15)

    monkeypatch.setattr(features, "free_memory", lambda: 1)  # auto takes the disk
    monkeypatch.setattr(features.KeptFeatures, "fill", stop)
    assert train(look_alike_folder, tmp_path, "--train_steps=2") == 143
    assert run_dir.read_arguments(str(tmp_path / "0"))["cache_features"] == "disk"
    monkeypatch.setattr(features, "free_memory", lambda: 10 ** 12)
    monkeypatch.setattr(features.KeptFeatures, "fill", fill)
    assert train(look_alike_folder, tmp_path, "--train_steps=2") == 0
    assert (tmp_path / "0" / "features" / "features.json").exists()


@on_the_default_leg
def test_other_arguments_are_refused_while_unfinished(tmp_path, look_alike_folder, capfd):
    assert train(look_alike_folder, tmp_path, "--train_steps=2") == 0
    (tmp_path / "0" / "metrics.jsonl").unlink()  # as if it had been killed
    assert train(look_alike_folder, tmp_path, "--train_steps=2", "--semi_hard") == 1
    error = capfd.readouterr().err
    assert "semi_hard: was False, now True" in error and "--resume=never" in error


def test_metrics_are_json_without_nan(full_run):
    for line in (full_run / "metrics.jsonl").read_text().splitlines():
        assert "NaN" not in line and json.loads(line)["step"] >= 1
