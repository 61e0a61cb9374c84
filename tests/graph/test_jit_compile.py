"""--jit_compile of the graph models. XLA is set up once in a process, so runs are processes of their own."""
from __future__ import annotations

import os
import sys

import numpy as np
import pytest

from common.run.run_dir import read_arguments
from common.tiny_data.__main__ import MAKERS
from tests import ROOT
from tests.conftest import IS_DEFAULT_LEG, slow_on_the_default_leg
from tests.kill_and_resume import SUBJECTS
from tests.programs import run
from tests.results import assert_nearly_same_variables, assert_same_variables, losses

COMPILED = "Compiled cluster using XLA"  # TensorFlow says it once
# of the norm of every variable after two updates, averages of gradients among them: Git loss on TensorFlow 1.15 differs
# by 0.017, SA-Siam by 0.012
LIMITS = {"gitloss": 1e-4 if IS_DEFAULT_LEG else 0.02, "circleloss": 1e-4, "sa_siam": 0.02}
# biases whose gradients batch normalisation cancels; a value at the edge of a bin of the histogram
IGNORED = {"circleloss": ("/bias", "prelogits_histogram")}


class Trainer:
    """Trains a subject in processes of their own, as a speed run."""

    def __init__(self, name, folder):
        self.name, self._folder, self._data = name, folder, str(folder / "data")
        MAKERS[SUBJECTS[name].data_format](self._data)

    def __call__(self, output, *flags):
        """Train; return the run directory and whether XLA has compiled something."""
        subject = SUBJECTS[self.name]
        done = run(sys.executable, os.path.join(ROOT, subject.entry), f"--data_path={self._data}",
                   f"--output_path={self._folder / output}", *subject.flags, *flags, TF_CPP_MIN_LOG_LEVEL="0")
        assert done.returncode == 0, done.stderr
        return str(self._folder / output / "0"), COMPILED in done.stdout + done.stderr


@pytest.fixture(params=[pytest.param("gitloss", marks=slow_on_the_default_leg),
                        pytest.param("circleloss", marks=pytest.mark.slow),
                        pytest.param("sa_siam", marks=pytest.mark.slow)])
def train(request, tmp_path):
    return Trainer(request.param, tmp_path)


def test_numbers_agree_to_1e_5(train):
    plain, plain_compiled = train("plain", "--performance", "--train_steps=2")
    xla, xla_compiled = train("xla", "--performance", "--train_steps=2", "--jit_compile")
    assert (plain_compiled, xla_compiled) == (False, True)
    np.testing.assert_allclose(losses(xla), losses(plain), rtol=1e-5)
    assert_nearly_same_variables(xla, plain, LIMITS[train.name], IGNORED.get(train.name, ()))
    assert read_arguments(xla)["identity"]["jit_compile"] is True
    assert "jit_compile" not in read_arguments(plain)["identity"]


@pytest.mark.slow
def test_a_resumed_run_has_the_same_bits(tmp_path):
    train = Trainer("gitloss", tmp_path)
    whole, _ = train("whole", "--jit_compile", "--train_steps=6")
    train("parts", "--jit_compile", "--train_steps=3")
    parts, _ = train("parts", "--jit_compile", "--train_steps=6", f"--resume={tmp_path / 'parts' / '0'}")
    assert losses(parts) == losses(whole)
    assert_same_variables(parts, whole)
