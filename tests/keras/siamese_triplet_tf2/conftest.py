"""Tiny look-alikes, the small network, and a run on them."""
from __future__ import annotations

import pytest

from common.tiny_data import look_alikes
from siamese_triplet_tf2 import siamese_network
from siamese_triplet_tf2.model import build_embedding
from tests.programs import trainer

FLAGS = ("--device=cpu", "--backbone=tiny", "--batch_size=8")
train = trainer(siamese_network.main, *FLAGS)


@pytest.fixture(scope="session")
def look_alike_folder(tmp_path_factory):
    """30 pairs: 24 train, 6 validate."""
    folder = tmp_path_factory.mktemp("tiny") / "totally_looks_like"
    look_alikes.make(str(folder), num_pairs=30)
    return str(folder)


@pytest.fixture(scope="session")
def tiny():
    return build_embedding("tiny", seed=5)


@pytest.fixture(scope="session")
def full_run(tmp_path_factory, look_alike_folder):
    """Two epochs of three steps."""
    output = tmp_path_factory.mktemp("full")
    assert train(look_alike_folder, output, "--epochs=2", "--static_shape") == 0
    return output / "0"
