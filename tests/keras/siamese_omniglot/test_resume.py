"""A run that was killed ends with the weights and numbers of one that was not."""
from __future__ import annotations

import pytest

from siamese_omniglot.run_scripts import run_siamese_train
from tests.conftest import on_the_default_leg
from tests.keras.siamese_omniglot.conftest import train
from tests.kill_and_resume import SUBJECTS, KillTest
from tests.resuming import error_of_other_arguments, train_in_parts


@pytest.mark.slow
def test_killed_while_writing_and_at_another_moment(tmp_path):
    kill_test = KillTest(SUBJECTS["siamese_omniglot"], str(tmp_path))
    kill_test.check("killed", kills=3, log=lambda text: None)


def test_more_steps_continue_a_finished_run_with_its_logs(tmp_path, tiny_folder, capfd):
    """Three steps make an epoch; the logs of the first run are rebuilt."""
    resumed = train_in_parts(lambda output, *flags: train(tiny_folder, output, "--batch_size=36", *flags), tmp_path,
                             capfd, 4, 5)
    logs = [(run / "logs" / "dlloger_example.json").read_text().count('"LOG"')
            for run in (resumed.whole, resumed.parts)]
    assert logs == [5 + 2, 5 + 3]  # evaluations at 3 and the end; of the parts at 4 too


@on_the_default_leg
def test_other_arguments_are_refused_while_unfinished(tmp_path, tiny_folder, capfd):
    def unfinished(output, *flags):
        return train(tiny_folder, output, "--train_steps=1", *flags)

    error = error_of_other_arguments(unfinished, tmp_path, capfd, "--augment=affine")
    assert "augment: was imagenet, now affine" in error and "run_siamese_train.py" in error
    assert run_siamese_train.ROOT in error
