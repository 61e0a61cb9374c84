"""Tiny videos, and one short run of each branch, shared by the tests of SA-Siam."""
from __future__ import annotations

import numpy as np
import pytest

from common.tiny_data import tracking
from sa_siam_tf1 import load_opencv, train_siamese_model
from sa_siam_tf1.configuration import KERNELS
from tests.graph.sa_siam_tf1.narrow import narrow_network
from tests.programs import trainer

train = trainer(train_siamese_model.main, "--device=cpu")


def write_video(path, num_frames, size=(64, 48)):
    """A video of noise of 0 to 40, each frame 6 brighter than the one before."""
    cv2, random = load_opencv(), np.random.RandomState(0)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, size)
    for number in range(num_frames):
        writer.write((random.randint(0, 41, (size[1], size[0], 3)) + 6 * number).astype(np.uint8))
    writer.release()
    return path


@pytest.fixture(scope="session")
def tiny_videos(tmp_path_factory):
    """Twelve videos of six frames in the raw layout, and two sequences."""
    folder = tmp_path_factory.mktemp("videos")
    tracking.make(str(folder), num_frames=6)
    return folder


@pytest.fixture
def raw(tmp_path):
    """Three videos of four frames in the raw layout."""
    tracking.make(str(tmp_path), num_videos=3, num_frames=4, num_sequences=0)
    return tmp_path / "ILSVRC2015"


def caffenet_layers(seed=0):
    """Layers as caffenet.npy has them, with random weights."""
    random = np.random.RandomState(seed)
    layers = {name: dict(weights=(0.02 * random.standard_normal(shape)).astype(np.float32),
                         biases=random.standard_normal(shape[-1:]).astype(np.float32))
              for name, shape in KERNELS.items()}
    layers["fc6"] = dict(weights=np.zeros((4, 4), np.float32), biases=np.zeros(4, np.float32))
    return layers


@pytest.fixture
def narrow():
    """The network of the runs below: most of a short run's time is the network's."""
    with narrow_network():
        yield


@pytest.fixture(scope="session")
def caffenet(tmp_path_factory):
    """A caffenet.npy."""
    path = tmp_path_factory.mktemp("caffenet") / "caffenet.npy"
    np.save(str(path), caffenet_layers())
    return path


@pytest.fixture(scope="session")
def narrow_caffenet(tmp_path_factory):
    path = tmp_path_factory.mktemp("narrow") / "caffenet.npy"
    with narrow_network():
        np.save(str(path), caffenet_layers())
    return path


@pytest.fixture(scope="session")
def appearance_run(tmp_path_factory, tiny_videos):
    """Output folder with a finished run of the appearance branch."""
    folder = tmp_path_factory.mktemp("appearance")
    with narrow_network():
        assert train(tiny_videos, folder, "--batch_size=2", "--train_steps=2") == 0
    return folder


@pytest.fixture(scope="session")
def semantic_run(tmp_path_factory, tiny_videos, narrow_caffenet):
    """Output folder with a finished run of the semantic branch."""
    folder = tmp_path_factory.mktemp("semantic")
    with narrow_network():
        assert train(tiny_videos, folder, "--batch_size=2", "--steps=2", "--branch=semantic",
                     f"--caffenet={narrow_caffenet}") == 0
    return folder
