"""The script of the Siamese network that starts eight processes."""
from __future__ import annotations

import os

import pytest

from common.tiny_data import omniglot as tiny_omniglot
from tests import ROOT
from tests.programs import run
from tests.test_architecture import runs_here

EIGHT = ("bash", os.path.join(ROOT, "siamese_omniglot", "test", "train_full_8p.sh"))
needs_keras = pytest.mark.skipif(not runs_here("siamese_omniglot"), reason="needs TensorFlow 2.6 or newer")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny_omniglot")
    tiny_omniglot.make(str(folder), 3, 5, 8)
    return folder


@needs_keras
@pytest.mark.slow
def test_eight_processes_by_flag(tmp_path, data):
    """The script's 8 are the default; a flag of the user wins."""
    result = run(*EIGHT, f"--data_path={data}", f"--output_path={tmp_path / 'out'}", "--device=cpu", "--batch_size=4",
                 "--train_steps=1", "--backbone=conv4", "--nproc_per_node=2", "--performance")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "0" / "Siamese_bs4_2p_perf.log").exists()
    assert run(*EIGHT, f"--data_path={data}", "--batch_size=4").stderr.startswith(
        "[Error] --batch_size=4: the 8 processes share a batch")
