"""Two machines, as two network namespaces joined by a virtual cable: equal losses, a cut cable, a machine that is gone.

Needs root and iproute2; skipped elsewhere.
"""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests import ROOT
from tests.hosts import ADDRESSES, two_hosts
from tests.results import losses

pytestmark = pytest.mark.slow
OMNIGLOT = ["siamese_omniglot/run_scripts/run_siamese_train.py", "--backbone=conv4", "--lr=1e-4", "--num_workers=1",
            "--epochs=9"]
FACES = ["circleloss_tf1/train_acc.py", "--model_def=models.resnet10", "--recipe=corrected", "--image_size=32",
         "--learning_rate=1e-5", "--epoch_size=15"]
TRIPLET = ["siamese_triplet_tf2/siamese_network.py", "--backbone=tiny", "--recipe=corrected"]
SECONDS_TO_NOTICE = 90  # TensorFlow's heartbeats and health checks, and starting Python on a busy machine


@pytest.fixture
def hosts():
    with two_hosts() as hosts:
        yield hosts


def start_both(hosts, program, data, output, *flags):
    """Start the same training on both hosts, each with an output folder of its own."""
    shared = [os.path.join(ROOT, program[0]), *program[1:], f"--data_path={data}", "--batch_size=7", "--device=cpu",
              "--distributed", "--nnode=2", f"--master_addr={ADDRESSES[0]}", *flags]
    return [hosts.start(host, [*shared, f"--node_rank={host}", f"--output_path={output}/host-{host}"])
            for host in (0, 1)]


def finish(processes, timeout=300):
    return [(process.communicate(timeout=timeout)[1].decode(), process.returncode) for process in processes]


def wait_for_step(output, step, processes):
    """Wait until rank 0 has made an update."""
    path = output / "host-0" / "0" / "metrics.jsonl"
    deadline = time.monotonic() + 200
    while not (path.exists() and f'"step": {step},' in path.read_text()):
        assert time.monotonic() < deadline and processes[0].poll() is None
        time.sleep(0.1)


def train_alone(program, data, output, *flags):
    subprocess.run([sys.executable, os.path.join(ROOT, program[0]), *program[1:], f"--data_path={data}",
                    "--batch_size=7", "--device=cpu", f"--output_path={output}", *flags], check=True,
                   stdout=subprocess.DEVNULL)
    return losses(output / "0")


@pytest.fixture(scope="module")
def omniglot_folder(tmp_path_factory):
    from common.tiny_data import omniglot

    folder = tmp_path_factory.mktemp("tiny") / "omniglot"
    omniglot.make(str(folder), 2, 3, 20)
    return folder


@pytest.fixture(scope="module")
def look_alikes_folder(tmp_path_factory):
    from common.tiny_data import look_alikes

    folder = tmp_path_factory.mktemp("tiny") / "look_alikes"
    look_alikes.make(str(folder))
    return folder


@pytest.mark.parametrize("program, data", [(OMNIGLOT, "omniglot_folder"), (FACES, "tiny_faces_folder")])
def test_a_cable_that_is_cut_for_five_seconds(tmp_path, hosts, request, program, data):
    folder, flags = request.getfixturevalue(data), ["--train_steps=40"]
    alone = train_alone(program, folder, tmp_path / "alone", *flags)
    processes = start_both(hosts, program, folder, tmp_path, *flags)
    wait_for_step(tmp_path, 3, processes)
    hosts.set_cable("down")
    time.sleep(5)
    hosts.set_cable("up")
    for error, status in finish(processes):
        assert status == 0, error
    np.testing.assert_allclose(losses(tmp_path / "host-0" / "0"), alone, rtol=1e-5)


def test_triplet(tmp_path, hosts, look_alikes_folder):
    alone = train_alone(TRIPLET, look_alikes_folder, tmp_path / "alone", "--train_steps=5")
    for error, status in finish(start_both(hosts, TRIPLET, look_alikes_folder, tmp_path, "--train_steps=5")):
        assert status == 0, error
    np.testing.assert_allclose(losses(tmp_path / "host-0" / "0"), alone, rtol=1e-5)


@pytest.mark.parametrize("event", ["cut", "death"])
def test_a_host_that_is_gone_ends_the_other_and_the_job_can_be_started_again(tmp_path, hosts, omniglot_folder, event):
    """Rank 0 ends in bounded time, with a line and status 75; the same command, on both hosts, resumes."""
    flags = ["--train_steps=60"]
    processes = start_both(hosts, OMNIGLOT, omniglot_folder, tmp_path, *flags)
    wait_for_step(tmp_path, 20, processes)
    if event == "cut":
        hosts.set_cable("down")
    else:
        subprocess.run(["ip", "netns", "pids", hosts.names[1]], check=True, stdout=subprocess.PIPE)
        pids = subprocess.run(["ip", "netns", "pids", hosts.names[1]], check=True, stdout=subprocess.PIPE).stdout
        for pid in pids.split():
            os.kill(int(pid), signal.SIGKILL)
    began = time.monotonic()
    error, status = finish(processes[:1])[0]
    assert time.monotonic() - began < SECONDS_TO_NOTICE
    lines = error.splitlines()
    assert status == 75 and len(lines) == 1 and lines[0].startswith("[Error] rank 0: another worker has ended"), error
    if event == "cut":
        error, status = finish(processes[1:])[0]
        assert status == 75 and "[Error]" in error
        hosts.set_cable("up")
    else:
        processes[1].communicate(timeout=60)

    for error, status in finish(start_both(hosts, OMNIGLOT, omniglot_folder, tmp_path, *flags)):
        assert status == 0, error
    train_alone(OMNIGLOT, omniglot_folder, tmp_path / "alone", *flags)
    one, other = losses(tmp_path / "host-0" / "0"), losses(tmp_path / "alone" / "0")
    np.testing.assert_allclose(one, other, rtol=1e-4)
    assert "Resuming after" in (tmp_path / "host-0" / "0" / "train_0.log").read_text()
