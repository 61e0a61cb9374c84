"""Batches on the stage are those that are returned, bad images and the middle of an epoch included."""
from __future__ import annotations

import types

import numpy as np
import pytest

from circleloss_tf1 import faces, training
from circleloss_tf1.face_images import EpochBatches, staged_images
from common.graph.compat import enable, tf
from common.tiny_data import faces as tiny_faces
from tests.graph.circleloss_tf1.conftest import train
from tests.graph.circleloss_tf1.test_face_images import network
from tests.results import rows

enable()
BATCH, BATCHES = 4, 6  # in an epoch


@pytest.fixture
def data(tmp_path):
    """Pictures of six people, some of which cannot be read."""
    tiny_faces.make(str(tmp_path), num_people=6)
    found = faces.scan(str(tmp_path / "MS-Celeb-1M_clean_align"))
    for index in range(0, len(found), 7):
        with open(found.path(index), "wb") as file:
            file.write(b"no image")
    return found


def batches_of(data, is_staged, begins):
    """Make batches; `begins` are pairs of an epoch and its first batch, each with the batches to make."""
    sampler = faces.Sampler(data.labels, BATCH * BATCHES, "without_replacement", 1, batch_size=BATCH)
    flags = types.SimpleNamespace(bad_images="skip", nrof_preprocess_threads=2)
    made = []
    with tf.Graph().as_default(), tf.Session() as session:
        staged = staged_images([BATCH, 32, 32, 3])
        batches = EpochBatches(data, np.arange(len(data)), sampler, network(random_flip=True), flags, is_staged)
        for (epoch, first), count in begins:
            batches.begin(session, epoch, first)
            for _ in range(count):
                images, labels = batches.next(session)
                assert (images is None) == is_staged
                made.append((session.run(staged) if is_staged else images, labels))
        batches.close()
    return made


@pytest.mark.parametrize("begins", [[((0, 0), BATCHES), ((1, 0), BATCHES)], [((1, 2), BATCHES - 2)]])
def test_staged_batches_are_the_returned_ones(data, capfd, begins):
    returned = batches_of(data, False, begins)
    warnings = capfd.readouterr().out
    assert warnings.count("another image is used instead") >= 2
    staged = batches_of(data, True, begins)
    assert capfd.readouterr().out == warnings
    assert len(returned) == len(staged) == sum(count for _, count in begins)
    for one, other in zip(returned, staged):
        assert np.array_equal(one[0], other[0]) and np.array_equal(one[1], other[1])
    assert len({images.tobytes() for images, _ in staged}) == len(staged)


@pytest.mark.usefixtures("one_block")
def test_training_is_the_same_on_fed_images(tmp_path, tiny_faces_folder, monkeypatch):
    flags = ("--epoch_size=3", "--performance", "--train_steps=5")
    assert train(tiny_faces_folder, tmp_path / "staged", *flags) == 0
    monkeypatch.setattr(training, "staged_images", lambda _: None)
    monkeypatch.setattr(training, "EpochBatches", lambda *given: EpochBatches(*given[:-1], False))
    assert train(tiny_faces_folder, tmp_path / "fed", *flags) == 0
    staged, fed = ([row["loss"] for row in rows(tmp_path / name / "0", "step")] for name in ("staged", "fed"))
    assert len(staged) == 5 and staged == fed
