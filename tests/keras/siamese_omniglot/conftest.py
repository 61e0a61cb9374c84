"""Drawn characters, and one trained run that the tests of the programs share."""
from __future__ import annotations

import os

import pytest

from common.tiny_data import omniglot as tiny_omniglot
from siamese_omniglot.run_scripts import run_siamese_train
from tests.programs import trainer

train = trainer(run_siamese_train.main, "--device=cpu", "--batch_size=6", "--backbone=conv4")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """Three alphabets of five characters, eight drawings each."""
    folder = tmp_path_factory.mktemp("tiny_omniglot")
    tiny_omniglot.make(str(folder), 3, 5, 8)
    return str(folder)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, tiny_folder):
    """Output folder of a finished run of three epochs, 18 updates each."""
    output = tmp_path_factory.mktemp("trained")
    os.environ.pop("ASCEND_DEVICE_ID", None)
    assert train(tiny_folder, output, "--epochs=3", "--lr=5e-3") == 0
    return output
