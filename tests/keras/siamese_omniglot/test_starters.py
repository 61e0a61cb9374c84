"""The files of docs/scale, run as far as one machine allows: ranks of MPI and Slurm, the losses of one process."""
from __future__ import annotations

import json
import os
import shutil
import stat
import sys

import numpy as np
import pytest

from common.distributed import launcher
from tests import ROOT
from tests.keras.siamese_omniglot.conftest import train
from tests.processes import start as start_process
from tests.programs import run
from tests.results import losses

pytestmark = pytest.mark.slow
FLAGS = ["--device=cpu", "--backbone=conv4", "--batch_size=7", "--lr=1e-4", "--num_workers=1", "--train_steps=4"]
# srun, as far as its variables go: it starts the command twice and waits for both
SRUN = """#!{python}
import os, subprocess, sys
common = dict(os.environ, SLURM_STEP_NUM_TASKS="2", SLURM_STEP_NODELIST="localhost", SLURM_STEP_TASKS_PER_NODE="2")
ranks = [subprocess.Popen(sys.argv[1:], env=dict(common, SLURM_PROCID=rank, SLURM_LOCALID=rank)) for rank in "01"]
sys.exit(max(rank.wait() for rank in ranks))
"""

# Ray Train, as far as its arguments and variables go: it calls the function in two processes and waits for both
RAY = {"__init__.py": "", "train/__init__.py": """
from types import SimpleNamespace as FailureConfig
from types import SimpleNamespace as RunConfig
from types import SimpleNamespace as ScalingConfig
""", "train/tensorflow.py": """
import json, multiprocessing, os, sys
from common.distributed.launcher import free_ports

class TensorflowTrainer:
    def __init__(self, train_loop_per_worker, *, train_loop_config, scaling_config, run_config):
        assert run_config.failure_config.max_failures == 3 and not scaling_config.use_gpu
        self.train, self.config, self.num_workers = train_loop_per_worker, train_loop_config, scaling_config.num_workers

    def run(self, workers, index):
        task = dict(type="worker", index=index)
        os.environ.update(TF_CONFIG=json.dumps(dict(cluster=dict(worker=workers), task=task)), TF_USE_LEGACY_KERAS="1")
        self.train(self.config)

    def fit(self):
        workers = [f"127.0.0.1:{port}" for port in free_ports(self.num_workers)]
        context = multiprocessing.get_context("fork")
        ranks = [context.Process(target=self.run, args=(workers, index)) for index in range(self.num_workers)]
        for rank in ranks:
            rank.start()
        for rank in ranks:
            rank.join()
        sys.exit(max(rank.exitcode for rank in ranks))
"""}


@pytest.fixture(scope="module")
def alone(tmp_path_factory, tiny_folder):
    output = tmp_path_factory.mktemp("alone")
    assert train(tiny_folder, output, *FLAGS) == 0
    return losses(output / "0")


def start(script, words, tmp_path, data, **variables):
    """Run a file of docs/scale on tiny data from the root; return what it printed."""
    flags = [*FLAGS, f"--master_port={launcher.free_ports(1)[0]}"]
    done = run("bash", os.path.join("docs", "scale", script), *words, data, tmp_path / "out", *flags, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("mpirun, options, name", [
    ("mpirun.openmpi", "--allow-run-as-root --oversubscribe", "Open MPI"), ("mpirun.mpich", "", "MPICH")])
def test_mpi(tmp_path, tiny_folder, alone, mpirun, options, name):
    if not shutil.which(mpirun):
        pytest.skip(f"{mpirun} is not installed (Debian: openmpi-bin, mpich)")
    out = start("mpirun.sh", ["2"], tmp_path, tiny_folder, MPIRUN=f"{mpirun} {options}")
    np.testing.assert_allclose(losses(tmp_path / "out" / "0"), alone, rtol=1e-5)
    assert f"Rank 0 of 2 ({name})" in out
    assert f"Rank 1 of 2 ({name})" in (tmp_path / "out" / "1" / "train_1.log").read_text()


def test_slurm(tmp_path, tiny_folder, alone):
    (tmp_path / "bin").mkdir()
    srun = tmp_path / "bin" / "srun"
    srun.write_text(SRUN.format(python=sys.executable))
    srun.chmod(srun.stat().st_mode | stat.S_IXUSR)
    out = start("slurm.sbatch", [], tmp_path, tiny_folder, PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    np.testing.assert_allclose(losses(tmp_path / "out" / "0"), alone, rtol=1e-5)
    assert "Rank 0 of 2 (Slurm)" in out


@pytest.mark.parametrize("status, restarts, is_queued", [(75, "0", True), (137, "0", True), (75, "3", False),
                                                           (1, "0", False)])
def test_slurm_queues_a_job_again_that_lost_a_rank(tmp_path, status, restarts, is_queued):
    for name, script in (("srun", f"exit {status}"), ("scontrol", f'echo "$@" > {tmp_path}/scontrol.txt')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    done = run("bash", os.path.join("docs", "scale", "slurm.sbatch"), "data", "out", SLURM_JOB_ID="17",
               SLURM_RESTART_COUNT=restarts, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == status
    asked = tmp_path / "scontrol.txt"
    assert asked.exists() == is_queued and (not is_queued or asked.read_text() == "requeue 17\n")


def test_ray(tmp_path, tiny_folder, alone):
    for name, text in RAY.items():
        path = tmp_path / "modules" / "ray" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    done = run(sys.executable, os.path.join("docs", "scale", "ray_train.py"), "2", tiny_folder, tmp_path, *FLAGS,
               PYTHONPATH=os.pathsep.join([str(tmp_path / "modules"), ROOT]), PYTHON=sys.executable)
    assert done.returncode == 0 and "Rank 0 of 2 (TF_CONFIG)" in done.stdout, done.stderr
    np.testing.assert_allclose(losses(tmp_path / "0"), alone, rtol=1e-5)


def manifest():
    """Return command and flags of the TFJob."""
    with open(os.path.join(ROOT, "docs", "scale", "tfjob.yaml"), encoding="utf-8") as file:
        lines = [line.strip() for line in file]
    begin = lines.index("command:") + 1
    return [line[2:] for line in lines[begin:begin + 4]], [line[2:] for line in lines if line.startswith("- --")]


def test_tf_job(tmp_path, tiny_folder, alone):
    """The command of the manifest, with the variable that the training operator sets; Kubernetes is not at hand."""
    command, flags = manifest()
    folders = {"/volume/omniglot": tiny_folder, "/volume/runs": str(tmp_path)}
    flags = [flag.replace(path, folder) for flag in flags for path, folder in folders.items() if path in flag]
    workers = [f"127.0.0.1:{port}" for port in launcher.free_ports(2)]
    ranks = [start_process([*command, "--distributed=True", *flags, *FLAGS], TF_CONFIG=json.dumps(dict(
        cluster=dict(worker=workers), task=dict(type="worker", index=index), environment="cloud")))
        for index in range(2)]
    for rank in ranks:
        out, error = rank.communicate(timeout=300)
        assert rank.returncode == 0 and b" of 2 (TF_CONFIG)" in out, error.decode()
    np.testing.assert_allclose(losses(tmp_path / "0"), alone, rtol=1e-5)


def test_tf_job_asks_for_a_restart(tmp_path):
    command, flags = manifest()
    assert command[:2] == ["bash", "-c"] and flags[0] == "--distributed=True"
    for status, expected in ((0, 0), (2, 2), (75, 138)):
        (tmp_path / "ends.sh").write_text(f"exit {status}")
        script = command[2].replace("siamese_omniglot/test/train_full_1p.sh", str(tmp_path / "ends.sh"))
        assert run("bash", "-c", script, "train").returncode == expected
