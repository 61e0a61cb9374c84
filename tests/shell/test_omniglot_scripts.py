"""Scripts of the Siamese network: eight processes, and what goes wrong early."""
from __future__ import annotations

import os

import pytest

from common.tiny_data import omniglot as tiny_omniglot
from tests import ROOT
from tests.programs import one_line, run
from tests.test_architecture import runs_here

MODEL = os.path.join(ROOT, "siamese_omniglot")
PERFORMANCE, EIGHT = (("bash", os.path.join(MODEL, "test", f"train_{name}.sh"))
                      for name in ("performance_1p", "full_8p"))
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


@pytest.mark.parametrize("arguments, status, message", [
    (["--data_path={data}", "--lrr=x"], 2, "unknown flag --lrr; did you mean --lr?"),
    (["--data_path={data}", "--distributed=maybe"], 2, "expected true or false"),
])
def test_mistakes_are_one_line_and_leave_nothing(tmp_path, data, arguments, status, message):
    arguments = [argument.format(data=data) for argument in arguments]
    result = run(*PERFORMANCE, *arguments, f"--output_path={tmp_path / 'out'}")
    assert result.returncode == status
    assert message in one_line(result.stderr)
    assert not (tmp_path / "out").exists()
