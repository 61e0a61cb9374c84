"""Training with several processes: the losses of one with the whole batch."""
from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest

from common.distributed import launcher, processes
from tests import ROOT
from tests.keras.siamese_triplet_tf2.conftest import FLAGS, train
from tests.processes import start
from tests.programs import error_line
from tests.results import losses, result_file

ENTRY = os.path.join(ROOT, "siamese_triplet_tf2", "siamese_network.py")


@pytest.mark.slow
@pytest.mark.parametrize("num, flags", [(2, []), (3, ["--cache_features=off"])])
def test_losses_equal_those_of_one_worker_with_the_whole_batch(tmp_path, look_alike_folder, num, flags):
    """24 pairs train, 7 a step: neither 7 nor the last step's 3 can be shared out evenly between two.

    The corrected recipe, since with the reference one's scale all images look the same to a random network, and Adam
    makes steps of its gradients' rounding.
    """
    flags = [*FLAGS, "--batch_size=7", "--epochs=2", "--recipe=corrected", *flags]
    assert train(look_alike_folder, tmp_path / "alone", *flags) == 0
    process = start([sys.executable, ENTRY, f"--data_path={look_alike_folder}", f"--output_path={tmp_path / 'several'}",
                     *flags, "--distributed=True", f"--nproc_per_node={num}"])
    out, error = process.communicate(timeout=400)
    assert process.returncode == 0, error.decode()
    alone = losses(tmp_path / "alone" / "0")
    assert len(alone) == 8
    np.testing.assert_allclose(losses(tmp_path / "several" / "0"), alone, rtol=1e-5)
    assert f"Rank 0 of {num} (TF_CONFIG), which share the 7 triplets of every step".encode() in out
    for rank in range(1, num):
        assert os.listdir(str(tmp_path / "several" / str(rank))) == [f"train_{rank}.log"]
    values = result_file(tmp_path / "several" / "0", f"siamese_network_ID2539_for_TensorFlow2.X_bs7_{num}p_acc")
    assert (values["RankSize"], values["BatchSize"]) == (str(num), "7")


@pytest.mark.parametrize("flags, status, message", [
    (["--weights=missing.h5"], 1, "missing.h5: no such file"),
    (["--init_checkpoint=missing/model.ckpt-5"], 1, "no such checkpoint"),
    (["--batch_size=500", "--static_shape"], 2, "--batch_size=500: only "),
    (["--profiling"], 2, "--over_dump, --data_dump_flag and --profiling diagnose one process"),
])
def test_mistakes_are_found_before_processes_start(tmp_path, look_alike_folder, capfd, monkeypatch, flags, status,
                                                   message):
    monkeypatch.setattr(processes, "launch", lambda *_: pytest.fail("processes are started"))
    assert train(look_alike_folder, tmp_path / "out", "--distributed=True", "--nproc_per_node=2", *flags) == status
    assert message in error_line(capfd) and not (tmp_path / "out").exists()


def test_ranks_of_the_environment_are_checked_too(tmp_path, look_alike_folder, capfd, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}')
    assert train(look_alike_folder, tmp_path / "out", "--semi_hard", "--distributed") == 2
    assert "--semi_hard needs the whole batch" in capfd.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("flags, message", [
    (["--semi_hard"], "--semi_hard needs the whole batch"),
    (["--batch_statistics"], "--batch_statistics needs the whole batch"),
    (["--cache_features=disk"], "--cache_features=disk works in one process only"),
    (["--batch_size=1"], "each needs at least one sample"),
])
def test_what_several_processes_cannot_do(tmp_path, look_alike_folder, capfd, flags, message):
    assert train(look_alike_folder, tmp_path / "out", "--distributed=True", "--nproc_per_node=2", *flags) == 2
    assert message in error_line(capfd) and not (tmp_path / "out").exists()


def test_a_tf_config_left_over_is_ignored(tmp_path, look_alike_folder, capfd, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}')
    assert train(look_alike_folder, tmp_path / "out", "--train_steps=1") == 0
    assert "Notice: TF_CONFIG is ignored without --distributed" in capfd.readouterr().out


def test_workers_that_never_come_are_named(tmp_path, look_alike_folder, capfd, monkeypatch):
    own, other = launcher.free_ports(2)
    cluster = dict(worker=[f"127.0.0.1:{own}", f"127.0.0.1:{other}"])
    monkeypatch.setenv("TF_CONFIG", json.dumps(dict(cluster=cluster, task=dict(type="worker", index=0))))
    assert train(look_alike_folder, tmp_path / "out", "--train_steps=1", "--distributed", "--peer_minutes=0.05") == 75
    captured = capfd.readouterr()
    assert f"waited 0.05 minutes for 127.0.0.1:{other}; start all ranks" in captured.err
    assert f"Rank 0 is waiting for 127.0.0.1:{other}" in captured.out and not (tmp_path / "out").exists()
