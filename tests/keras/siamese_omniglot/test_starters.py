"""The files of docs/scale, run as far as one machine allows: ranks of MPI and Slurm, the losses of one process."""
from __future__ import annotations

import os
import shutil
import stat
import sys

import numpy as np
import pytest

from common.distributed import rendezvous
from tests import ROOT
from tests.keras.siamese_omniglot.conftest import train
from tests.programs import run
from tests.results import losses

pytestmark = pytest.mark.slow
FLAGS = ["--device=cpu", "--backbone=conv4", "--batch_size=7", "--lr=1e-4", "--num_workers=1", "--train_steps=4"]
# srun, as far as its variables go: it starts the command twice and waits for both
SRUN = """#!{python}
import os, subprocess, sys
words = [word for word in sys.argv[1:] if word != "--kill-on-bad-exit=1"]
common = dict(os.environ, SLURM_STEP_NUM_TASKS="2", SLURM_STEP_NODELIST="localhost", SLURM_STEP_TASKS_PER_NODE="2")
ranks = [subprocess.Popen(words, env=dict(common, SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank))) for rank in (0, 1)]
sys.exit(max(rank.wait() for rank in ranks))
"""


@pytest.fixture(scope="module")
def alone(tmp_path_factory, tiny_folder):
    output = tmp_path_factory.mktemp("alone")
    assert train(tiny_folder, output, *FLAGS) == 0
    return losses(output / "0")


def start(script, words, tmp_path, data, **variables):
    """Run a file of docs/scale on tiny data from the root; return what it printed."""
    flags = [*FLAGS, f"--master_port={rendezvous.free_ports(1)[0]}"]
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


def test_tf_job_sets_what_the_script_takes():
    """The manifest is read, and its command parsed by the program; Kubernetes itself is not at hand."""
    with open(os.path.join(ROOT, "docs", "scale", "tfjob.yaml"), encoding="utf-8") as file:
        lines = [line.strip() for line in file]
    script = next(line for line in lines if line.startswith("command:")).split("bash, ")[1].rstrip("]")
    flags = [line[2:] for line in lines if line.startswith("- --")]
    assert os.path.isfile(os.path.join(ROOT, script)) and flags[0] == "--distributed=True"
    done = run("bash", script, *flags, "--device=cpu")
    assert done.returncode == 1 and "/volume/omniglot" in done.stderr
