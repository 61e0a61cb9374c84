"""Slurm itself, with two nodes of one processor on this machine: it runs docs/scale/slurm.sbatch as it is."""
from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

from tests.hosts import ADDRESSES, two_hosts
from tests.keras.siamese_omniglot.conftest import train
from tests.programs import run
from tests.results import losses

pytestmark = pytest.mark.slow
FLAGS = ["--device=cpu", "--backbone=conv4", "--lr=1e-4", "--num_workers=1"]
CONFIGURATION = """ClusterName=zoo
SlurmctldHost=host-0
AuthType=auth/none
CredType=cred/none
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
GresTypes=gpu
NodeName=host-0,host-1 CPUs=1 Gres=gpu:1
PartitionName=zoo Nodes=ALL Default=YES
"""
# with the name of a host, in a network, with the addresses of all: the folder, the name and a command are arguments
ON_HOST = 'mount --bind "$0/hosts" /etc/hosts && hostname "$1" && shift && exec "$@"'


class Cluster:
    """Slurm's daemons, and its commands on the first of two hosts."""

    def __init__(self, hosts, folder):
        self._hosts, self._folder = hosts, folder
        (folder / "state").mkdir(parents=True)
        (folder / "slurm.conf").write_text(CONFIGURATION.format(folder=folder))
        (folder / "gres.conf").write_text("Name=gpu File=/dev/null\n")
        (folder / "hosts").write_text("127.0.0.1 localhost\n" + "".join(
            f"{address} host-{number}\n" for number, address in enumerate(ADDRESSES)))
        daemons = [(0, "slurmctld", "-D")] + [(host, "slurmd", "-D", "-N", f"host-{host}") for host in (0, 1)]
        self._daemons = [subprocess.Popen(self._words(host, *words), env=dict(os.environ, **self._variables),
                                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                         for host, *words in daemons]

    def _words(self, host, *command):
        return ["nsenter", f"--net=/run/netns/{self._hosts.names[host]}", "unshare", "--uts", "--mount", "sh", "-c",
                ON_HOST, str(self._folder), f"host-{host}", *map(str, command)]

    @property
    def _variables(self):
        return dict(SLURM_CONF=str(self._folder / "slurm.conf"))

    def run(self, *command):
        return run(*self._words(0, *command), timeout=300, **self._variables)

    def stop(self):
        self.run("scancel", "--user=root")  # what remains of a job would outlive the daemons
        wait_until(lambda: not self.run("squeue", "-h").stdout)
        for daemon in self._daemons:
            daemon.terminate()
        for daemon in self._daemons:
            daemon.wait(30)


@pytest.fixture
def cluster(tmp_path):
    for program in ("slurmctld", "slurmd", "sbatch"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed (Debian: slurm-wlm)")
    with two_hosts() as hosts:
        cluster = Cluster(hosts, tmp_path / "slurm")
        try:
            wait_until(lambda: cluster.run("sinfo", "-h", "-t", "idle", "-o", "%D").stdout.strip() == "2")
            yield cluster
        finally:
            cluster.stop()


def wait_until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def submit(cluster, options, data, output, *flags):
    """Submit a job of two ranks with options of sbatch; return what this said."""
    return cluster.run("sbatch", "--ntasks-per-node=1", f"--output={output}.txt", *options, "docs/scale/slurm.sbatch",
                       data, output, *FLAGS, *flags)


def rank_1_of(output):
    """Return the process of rank 1 of a job that writes to a folder, a Python."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/environ", "rb") as file, open(f"/proc/{name}/cmdline", "rb") as line:
                words = line.read().split(b"\0")
                is_python = words[1].endswith(b"run_siamese_train.py") and f"--output_path={output}".encode() in words
                if is_python and b"SLURM_PROCID=1" in file.read().split(b"\0"):
                    return int(name)
        except (OSError, IndexError):  # it has ended, or has no arguments
            continue
    raise AssertionError("rank 1 does not run")


def test_two_nodes_compute_what_one_process_does(tmp_path, tiny_folder, cluster):
    flags = ["--batch_size=7", "--train_steps=4"]
    assert train(tiny_folder, tmp_path / "alone", *FLAGS, *flags) == 0
    done = submit(cluster, ["--wait"], tiny_folder, tmp_path / "out", *flags)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(losses(tmp_path / "out" / "0"), losses(tmp_path / "alone" / "0"), rtol=1e-5)
    assert "Rank 0 of 2 (Slurm)" in (tmp_path / "out.txt").read_text()
    assert "Rank 1 of 2 (Slurm)" in (tmp_path / "out" / "1" / "train_1.log").read_text()


def test_a_job_whose_rank_is_killed_starts_again_and_ends(tmp_path, tiny_folder, cluster):
    output = tmp_path / "out"
    job = submit(cluster, ["--parsable"], tiny_folder, output, "--batch_size=32", "--epochs=40", "--train_steps=24")
    number, metrics = job.stdout.strip(), output / "0" / "metrics.jsonl"
    wait_until(lambda: metrics.exists() and '"step": 8,' in metrics.read_text())
    os.kill(rank_1_of(output), signal.SIGKILL)
    wait_until(lambda: cluster.run("squeue", "-h", "-j", number, "-o", "%T").stdout.strip() == "PENDING")
    cluster.run("scontrol", "update", f"JobId={number}", "StartTime=now")  # Slurm waits for two minutes
    log = output / "0" / "train_0.log"
    wait_until(lambda: "Final result" in log.read_text())
    wait_until(lambda: not cluster.run("squeue", "-h").stdout)
    assert "Resuming after" in log.read_text() and len(losses(output / "0")) == 24
