"""A network of one block, for tests of what is around the network: building a graph is most of a short run's time."""
from __future__ import annotations

import pytest

from circleloss_tf1 import train_acc
from circleloss_tf1.models import resnet
from tests.programs import trainer

train = trainer(train_acc.main, "--device=cpu", "--batch_size=8", "--model_def=models.resnet10")


@pytest.fixture(scope="module")
def one_block():
    """models.resnet10 with its last stage alone."""
    whole = resnet.ARCHITECTURES["models.resnet10"]
    resnet.ARCHITECTURES["models.resnet10"] = whole._replace(blocks=(0, 0, 0, 1))
    yield
    resnet.ARCHITECTURES["models.resnet10"] = whole
