"""Features on the device, and several updates in a call: the same bits as from the host, one by one."""
from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from siamese_triplet_tf2 import features
from siamese_triplet_tf2.update import Updater
from tests.keras.siamese_triplet_tf2.conftest import train
from tests.results import assert_same_variables, losses, rows

FLAGS = ("--cache_features=memory", "--batch_size=7", "--epochs=2")  # 24 triplets: batches of 7, 7, 7 and 3


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory, look_alike_folder):
    """With features on the disk, which the host reads."""
    output = tmp_path_factory.mktemp("one")
    assert train(look_alike_folder, output, *FLAGS, "--cache_features=disk") == 0
    return output / "0"


@pytest.mark.parametrize("steps_per_loop, calls", [(1, []), (2, [2, 1, 2, 1]), (20, [3, 3])])
def test_several_updates_in_a_call(tmp_path, look_alike_folder, one_by_one, monkeypatch, steps_per_loop, calls):
    """The smaller last batch of an epoch is computed alone."""
    counts, real = [], Updater.several
    monkeypatch.setattr(Updater, "several", lambda self, parts: counts.append(len(parts)) or real(self, parts))
    assert train(look_alike_folder, tmp_path, *FLAGS, f"--steps_per_loop={steps_per_loop}") == 0
    assert counts == calls
    assert losses(tmp_path / "0") == losses(one_by_one) and len(losses(one_by_one)) == 8
    for name in ("valid_loss", "train_loss", "cosine_recall_at_1"):
        assert [row[name] for row in rows(tmp_path / "0", "eval")] == [row[name] for row in rows(one_by_one, "eval")]
    assert_same_variables(tmp_path / "0", one_by_one)


def test_an_interrupted_run_resumes_in_the_middle_of_a_call(tmp_path, look_alike_folder, one_by_one):
    """The resumed segment makes its calls at other steps."""
    for limit, steps_per_loop in ((5, 3), (8, 4)):
        assert train(look_alike_folder, tmp_path, *FLAGS, f"--train_steps={limit}",
                     f"--steps_per_loop={steps_per_loop}") == 0
    assert losses(tmp_path / "0") == losses(one_by_one)


@pytest.mark.parametrize("flags", [["--cache_features=off"], ["--cache_features=disk"], ["--loss_scale=dynamic"]])
def test_without_effect(tmp_path, look_alike_folder, capfd, flags):
    assert train(look_alike_folder, tmp_path, *FLAGS, "--train_steps=2", "--steps_per_loop=2", *flags) == 0
    assert "Notice: --steps_per_loop has no effect" in capfd.readouterr().out


def test_features_that_do_not_fit_on_the_device_are_kept_on_the_host(monkeypatch):
    def exhausted(shape):
        raise tf.errors.ResourceExhaustedError(None, None, "out of memory")

    kept = features.KeptFeatures(lambda rows: np.outer(rows, [1.0, 2.0]).astype(np.float32), (2,), 40, on_device=True)
    kept.fill(lambda: None)
    assert kept.on_device and kept(np.array([39, 3])).tolist() == [[39, 78], [3, 6]]
    monkeypatch.setattr(tf, "zeros", exhausted)
    kept.fill(lambda: None)
    assert not kept.on_device and kept(np.array([39, 3])).tolist() == [[39, 78], [3, 6]]
