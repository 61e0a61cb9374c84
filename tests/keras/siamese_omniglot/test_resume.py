"""A run that was killed ends with the weights and numbers of one that was not."""
from __future__ import annotations

import pytest

from siamese_omniglot.run_scripts import run_siamese_train
from tests.conftest import on_the_default_leg
from tests.keras.siamese_omniglot.conftest import train
from tests.kill_and_resume import SUBJECTS, KillTest
from tests.results import assert_same_variables


@pytest.mark.slow
def test_killed_while_writing_and_at_another_moment(tmp_path):
    kill_test = KillTest(SUBJECTS["siamese_omniglot"], str(tmp_path))
    hits = kill_test.check("killed", kills=2, log=lambda text: None)
    assert hits["writing"] >= 1 and hits["any"] >= 1


def test_a_longer_run_goes_on_with_its_logs(tmp_path, tiny_folder, capfd):
    """4 updates, then up to 8, equal 8 in one go; the logs of the first segment are rebuilt."""
    assert train(tiny_folder, tmp_path / "whole", "--train_steps=8", "--batch_size=36") == 0
    assert train(tiny_folder, tmp_path / "parts", "--train_steps=4", "--batch_size=36") == 0
    assert train(tiny_folder, tmp_path / "parts", "--train_steps=8", "--batch_size=36",
                 f"--resume={tmp_path / 'parts' / '0'}") == 0
    assert "Resuming after 4 updates." in capfd.readouterr().out
    assert_same_variables(tmp_path / "whole" / "0", tmp_path / "parts" / "0")
    logs = [(tmp_path / name / "0" / "logs" / "dlloger_example.json").read_text().count('"LOG"')
            for name in ("whole", "parts")]
    assert logs == [8 + 3, 8 + 4]  # evaluations at 3, 6 and the end; of the parts at 4 too


@on_the_default_leg
def test_other_arguments_are_refused_while_unfinished(tmp_path, tiny_folder, capfd):
    assert train(tiny_folder, tmp_path, "--train_steps=1") == 0
    (tmp_path / "0" / "metrics.jsonl").unlink()  # as if it had been killed
    assert train(tiny_folder, tmp_path, "--train_steps=1", "--augment=affine") == 1
    error = capfd.readouterr().err
    assert "augment: was imagenet, now affine" in error and "run_siamese_train.py" in error
    assert run_siamese_train.ROOT in error
