"""Training with several processes: the losses of one with the whole batch, a worker that dies, resuming."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from common.distributed import launcher, processes
from common.tiny_data import omniglot as tiny_omniglot
from tests import ROOT
from tests.conftest import on_the_default_leg
from tests.keras.siamese_omniglot.conftest import train
from tests.processes import start
from tests.programs import error_line
from tests.results import losses, result_file

ENTRY = os.path.join(ROOT, "siamese_omniglot", "run_scripts", "run_siamese_train.py")
FLAGS = ["--device=cpu", "--backbone=conv4", "--batch_size=7", "--lr=1e-4", "--num_workers=1"]


def command(data, output, *flags):
    return [sys.executable, ENTRY, f"--data_path={data}", f"--output_path={output}", *FLAGS, *flags]


@pytest.fixture(scope="module")
def alone(tmp_path_factory, tiny_folder):
    output = tmp_path_factory.mktemp("alone")
    assert train(tiny_folder, output, "--train_steps=5", "--lr=1e-4", "--batch_size=7") == 0
    return losses(output / "0")


@pytest.mark.parametrize("num", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_losses_equal_those_of_one_worker_with_the_whole_batch(tmp_path, tiny_folder, alone, num):
    process = start(command(tiny_folder, tmp_path, "--train_steps=5", f"--nproc_per_node={num}", "--distributed=True"))
    out, error = process.communicate(timeout=400)
    assert process.returncode == 0, error.decode()
    np.testing.assert_allclose(losses(tmp_path / "0"), alone, rtol=1e-5)
    assert b"Final Train Accuracy" in out and f"Rank 0 of {num} (TF_CONFIG), ".encode() in out
    assert sorted(os.listdir(str(tmp_path))) == [str(rank) for rank in range(num)]
    for rank in range(1, num):
        assert os.listdir(str(tmp_path / str(rank))) == [f"train_{rank}.log"]
        assert f"Rank {rank} of {num}" in (tmp_path / str(rank) / f"train_{rank}.log").read_text()
    values = result_file(tmp_path / "0", f"Siamese_bs7_{num}p_acc")
    assert (values["RankSize"], values["BatchSize"]) == (str(num), "7")


@pytest.mark.slow
def test_ranks_that_would_not_train_the_same_are_refused(tmp_path, tiny_folder):
    workers = [f"127.0.0.1:{port}" for port in launcher.free_ports(2)]
    processes = []
    for rank in range(2):
        config = dict(cluster=dict(worker=workers), task=dict(type="worker", index=rank))
        environment = dict(os.environ, TF_CONFIG=json.dumps(config), ASCEND_DEVICE_ID=str(rank))
        words = command(tiny_folder, tmp_path, "--train_steps=5", f"--seed={rank + 3}", "--distributed")
        processes.append(subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    for rank, process in enumerate(processes):
        _, error = process.communicate(timeout=200)
        assert process.returncode == 1 and error.decode().startswith(
            f"[Error] rank {rank}: rank 1 would not train the same as rank 0: give all ranks the same data, ")
        assert error.count(b"\n") == 1


@pytest.mark.slow
def test_a_worker_that_dies_stops_all_and_its_run_can_be_resumed(tmp_path, tiny_folder):
    """Rank 1 is killed; rank 0 ends within a bounded time, non-zero; three processes resume the run."""
    words = command(tiny_folder, tmp_path, "--train_steps=300", "--epochs=40")
    process = start([*words, "--nproc_per_node=2", "--distributed=True"])
    index = tmp_path / "0" / "ckpt" / "model.ckpt-15.index"  # after the first epoch
    deadline = time.monotonic() + 300
    while not index.exists() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.05)
    ranks = subprocess.run(["ps", "--ppid", str(process.pid), "-o", "pid="], stdout=subprocess.PIPE, check=True)
    os.kill(sorted(map(int, ranks.stdout.split()))[1], signal.SIGKILL)
    killed_at = time.monotonic()
    _, error = process.communicate(timeout=120)
    assert time.monotonic() - killed_at < 60
    assert process.returncode == 137
    assert b"the other ranks are stopped; the same command resumes from the last checkpoint" in error
    # rank 0 hears of it from TensorFlow, or is stopped by the launcher before that, or killed if it hears nothing
    ending = (tmp_path / "0" / "train_0.log").read_text().splitlines()[-1]
    assert ending.startswith("[Error] rank 0: another worker has ended") or ending == "Stopped by SIGTERM." or \
        b"rank 0 does not end by itself, because it waits for a lost rank: it is killed" in error
    other = start([*words, "--nproc_per_node=3", "--distributed=True"])  # from the same place, another number
    log = tmp_path / "0" / "train_0.log"
    while "Resuming after" not in log.read_text() or "Iteration: 2 " not in log.read_text().split("Resuming")[1]:
        assert other.poll() is None and time.monotonic() < killed_at + 300, log.read_text()[-2000:]
        time.sleep(0.1)
    other.send_signal(signal.SIGTERM)
    assert other.communicate(timeout=120) and other.returncode == 143
    assert "Final result" not in log.read_text()


@on_the_default_leg
def test_sigterm_saves_and_ends_all(tmp_path, tiny_folder):
    process = start(command(tiny_folder, tmp_path, "--train_steps=300", "--epochs=40", "--nproc_per_node=2",
                            "--distributed=True"))
    deadline = time.monotonic() + 300
    log = tmp_path / "0" / "train_0.log"
    while not (log.exists() and "Iteration: 3 " in log.read_text()) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 143, error.decode()
    assert error.decode().splitlines() == ["Stopped by SIGTERM."] * 2  # rank 0 and the launcher
    assert "Final result" not in log.read_text()  # they stop, and do not train to the end
    from common.checkpoints.bundle import steps_in

    assert steps_in(str(tmp_path / "0" / "ckpt"))[-1] >= 4


@pytest.mark.parametrize("flags, status, message", [
    (["--batch_size=1"], 2, "--batch_size=1: the 2 processes share a batch"),
    (["--batch_size=500"], 2, "--batch_size=500: only 108 training drawings"),
    (["--weights=missing.h5"], 1, "--weights=missing.h5: no such file"),
    (["--init_checkpoint=missing/model.ckpt-5"], 1, "no such checkpoint"),
    (["--resume=missing"], 1, "--resume=missing: not a run directory"),
    (["--over_dump"], 2, "--over_dump, --data_dump_flag and --profiling diagnose one process"),
    (["--use_mixlist", "--mixlist_file=missing.json"], 2, "--mixlist_file=missing.json: no such file"),
])
def test_mistakes_are_found_before_processes_start(tmp_path, tiny_folder, capfd, monkeypatch, flags, status, message):
    monkeypatch.setattr(processes, "launch", lambda *_: pytest.fail("processes are started"))
    assert train(tiny_folder, tmp_path / "out", "--distributed=True", "--nproc_per_node=2", *flags) == status
    assert message in error_line(capfd) and not (tmp_path / "out").exists()


def test_a_bad_drawing_is_found_before_processes_start(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(processes, "launch", lambda *_: pytest.fail("processes are started"))
    tiny_omniglot.make(str(tmp_path / "data"), 1, 3, 4)
    bad = sorted((tmp_path / "data").rglob("*.png"))[0]
    bad.write_bytes(b"no image")
    assert train(tmp_path / "data", tmp_path / "out", "--distributed=True", "--nproc_per_node=2") == 1
    assert str(bad) in error_line(capfd)


@pytest.mark.parametrize("text, flags, message", [
    ("{", ["--help"], None),
    ("{", ["--distributed"], "TF_CONFIG={: cannot be used"),
    ('{"cluster": {"worker": ["a:1", "b:1", "c:1"]}, "task": {"type": "worker", "index": 0}}',
     ["--batch_size=2", "--distributed"],
     "--batch_size=2: the 3 processes share a batch"),
])
def test_a_tf_config_is_checked(tmp_path, tiny_folder, text, flags, message):
    """The script itself: what it does last looks at TF_CONFIG too."""
    process = start(command(tiny_folder, tmp_path / "out", *flags), TF_CONFIG=text)
    error = process.communicate(timeout=60)[1].decode()
    assert "Traceback" not in error and not (tmp_path / "out").exists()
    assert process.returncode != 0 and message in error and error.count("\n") == 1 if message else \
        (process.returncode, error) == (0, "")


@pytest.mark.slow
def test_a_tf_config_of_ones_own(tmp_path, tiny_folder, alone):
    """A chief and a worker, as several schedulers set them."""
    first, second = (f"127.0.0.1:{port}" for port in launcher.free_ports(2))
    cluster = dict(chief=[first], worker=[second])
    ranks = [start(command(tiny_folder, tmp_path, "--train_steps=2", "--distributed"),
                   TF_CONFIG=json.dumps(dict(cluster=cluster, task=dict(type=kind, index=0))))
             for kind in ("worker", "chief")]
    for rank in ranks:
        out, error = rank.communicate(timeout=400)
        assert rank.returncode == 0, error.decode()
        assert b"Rank " in out
    np.testing.assert_allclose(losses(tmp_path / "0"), alone[:2], rtol=1e-5)
    assert sorted(os.listdir(str(tmp_path))) == ["0", "1"] and os.listdir(str(tmp_path / "1")) == ["train_1.log"]


@pytest.mark.slow
def test_two_machines_meet(tmp_path, tiny_folder, alone):
    """Two launchers with one process each, as on two machines; the second has an output folder of its own."""
    port = launcher.free_ports(1)[0]
    shared = ["--train_steps=5", "--nnode=2", "--distributed=True", "--master_addr=127.0.0.1", f"--master_port={port}"]
    processes = [start(command(tiny_folder, tmp_path / f"machine-{node}", f"--node_rank={node}", *shared))
                 for node in (1, 0)]
    for process in processes:
        _, error = process.communicate(timeout=400)
        assert process.returncode == 0, error.decode()
    np.testing.assert_allclose(losses(tmp_path / "machine-0" / "0"), alone, rtol=1e-5)
    assert os.listdir(str(tmp_path / "machine-1")) == ["1"]
