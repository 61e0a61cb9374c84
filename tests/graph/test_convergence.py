"""Short trainings on real data that have to reach a number, so that a recipe that stops learning is noticed.

The limits leave a margin below what two seeds reached in November 2026 with TensorFlow 2.21 on a CPU, given in each
docstring. Together with tests/keras/test_convergence.py the tests take less than five minutes of CPU time.
"""
from __future__ import annotations

import os

import numpy as np
import pytest

from circleloss_tf1 import train_acc
from gitloss_tf1 import gitloss
from sa_siam_tf1 import train_siamese_model
from tests.conftest import on_the_default_leg
from tests.results import rows

pytestmark = [pytest.mark.slow, on_the_default_leg]


def test_gitloss_on_digits(tmp_path, shared_data):
    """3,500 digits of MNIST: a validation accuracy of 0.568 and 0.551, chance is 0.1."""
    assert gitloss.main([
        f"--data_path={shared_data('mnist10k')}", f"--output_path={tmp_path}", "--device=cpu", "--batch_size=32",
        "--train_steps=400", "--update_centers=400"]) == 0
    assert rows(tmp_path / "0", "eval")[-1]["valid_accuracy"] > 0.45


def test_circleloss_on_faces(tmp_path, shared_data):
    """40 people of LFW, verified on 435 others, the first fold.

    0.458 and 0.428 of the last training images are classified correctly, and the verification accuracy is 0.635 and
    0.635. An untrained network verifies 0.56.
    """
    people, others = (os.path.join(shared_data(f"lfw/{name}.zip"), name) for name in ("lfw_train40", "lfw_fold1"))
    assert train_acc.main([
        f"--data_dir={people}", f"--lfw_dir={others}", f"--lfw_pairs={shared_data('lfw/pairs_fold1.txt')}",
        f"--output_path={tmp_path}", "--device=cpu", "--model_def=models.resnet10",
        "--batch_size=10", "--learning_rate=0.002", "--train_steps=300", "--epoch_size=300",
        "--sample_with_replacement"]) == 0
    assert np.mean([row["accuracy"] for row in rows(tmp_path / "0", "step")[-50:]]) > 0.3
    assert rows(tmp_path / "0", "eval")[-1]["lfw_accuracy"] > 0.57


def test_sa_siam_on_videos(tmp_path, shared_data):
    """42 tracks of seven sequences: a loss of 0.471 and 0.456 in the last 20 batches, untrained it is log 2 = 0.693."""
    assert train_siamese_model.main([
        f"--data_path={shared_data('tracking/curated_42_tracks.zip')}", f"--output_path={tmp_path}", "--device=cpu",
        "--batch_size=2", "--optimizer=MOMENTUM", "--train_steps=40"]) == 0
    assert np.mean([row["batch_loss"] for row in rows(tmp_path / "0", "step")[-20:]]) < 0.6
