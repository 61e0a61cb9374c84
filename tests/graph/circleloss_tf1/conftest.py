"""A network of one block, for tests of what is around the network: building a graph is most of a short run's time."""
from __future__ import annotations

import os

import pytest

from circleloss_tf1 import train_acc
from circleloss_tf1.models import resnet
from tests.programs import trainer

train = trainer(train_acc.main, "--device=cpu", "--batch_size=8", "--model_def=models.resnet10")


def make_people(folder, **people):
    """Make folders of people with files of these names, which hold as many bytes as their names have letters."""
    for person, names in people.items():
        os.makedirs(os.path.join(str(folder), person), exist_ok=True)
        for name in names:
            with open(os.path.join(str(folder), person, name), "wb") as file:
                file.write(b"x" * len(name))
    return str(folder)


@pytest.fixture(scope="module")
def one_block():
    """models.resnet10 with its last stage alone."""
    whole = resnet.ARCHITECTURES["models.resnet10"]
    resnet.ARCHITECTURES["models.resnet10"] = whole._replace(blocks=(0, 0, 0, 1))
    yield
    resnet.ARCHITECTURES["models.resnet10"] = whole
