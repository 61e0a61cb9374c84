"""How the tests of Git loss train, and a run that they share."""
from __future__ import annotations

import pytest

from gitloss_tf1 import gitloss
from tests.programs import trainer

train = trainer(gitloss.main, "--device=cpu", "--batch_size=8")


@pytest.fixture(scope="session")
def output(tmp_path_factory, tiny_mnist_folder):
    """Output folder with a finished run of seven updates, counted as the original counts, with evaluations at steps 3,
    6 and, since 8 - 1 is no multiple, at the end.
    """
    folder = tmp_path_factory.mktemp("trained")
    assert train(tiny_mnist_folder, folder, "--steps=8", "--update_centers=3") == 0
    return folder
