"""A network of one block, for tests of what is around the network: building a graph is most of a short run's time."""
from __future__ import annotations

import contextlib
import os
import shutil

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


@contextlib.contextmanager
def small_network():
    """models.resnet10 with its last stage alone."""
    whole = resnet.ARCHITECTURES["models.resnet10"]
    resnet.ARCHITECTURES["models.resnet10"] = whole._replace(blocks=(0, 0, 0, 1))
    yield
    resnet.ARCHITECTURES["models.resnet10"] = whole


@pytest.fixture
def one_block():
    with small_network():
        yield


@pytest.fixture(scope="session")
def output(tmp_path_factory, tiny_faces_folder):
    """Output folder with a finished run of the corrected recipe, small images."""
    folder = tmp_path_factory.mktemp("trained")
    with small_network():
        assert train(tiny_faces_folder, folder, "--train_steps=3", "--epoch_size=2", "--recipe=corrected",
                     "--image_size=32", "--lfw_batch_size=16") == 0
    return folder


@pytest.fixture(scope="session")
def reference_output(tmp_path_factory, tiny_faces_folder):
    """The same of the reference recipe, without LFW."""
    folder = tmp_path_factory.mktemp("reference")
    data = os.path.join(tiny_faces_folder, "MS-Celeb-1M_clean_align")
    with small_network():
        assert train(data, folder, "--batch_size=4", "--train_steps=1") == 0
    return folder


def face(folder, person="Person_A", number=1):
    return os.path.join(folder, "lfw-deepfunneled_align", person, f"{person}_{number:04d}.jpg")


def unused_copy(output, tmp_path):
    """A copy of an output folder without what evaluate and predict have written."""
    shutil.copytree(str(output), str(tmp_path / "copy"), ignore=shutil.ignore_patterns("evaluate", "predict"))
    return tmp_path / "copy"
