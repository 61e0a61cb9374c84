"""The device makes the images that the host makes, bit for bit on a CPU, from crops that are fed or kept."""
from __future__ import annotations

import numpy as np
import pytest

from common.graph.compat import ResidentArray, tf
from sa_siam_tf1 import siamese_model
from sa_siam_tf1.configuration import TrainConfig
from sa_siam_tf1.datasets import dataloader, imdb
from sa_siam_tf1.datasets.dataloader import crop_batches, training_batches
from sa_siam_tf1.siamese_model import DeviceImages
from tests.graph.sa_siam_tf1.conftest import train
from tests.results import rows

pytestmark = pytest.mark.usefixtures("new_graph", "narrow")


def test_every_change_is_the_host_s():
    """All sides, those of the padding and of the crop among them, at random offsets and the extreme ones."""
    random = np.random.RandomState(0)
    changes = np.array([(side, *random.randint(0, 8, 2)) for side in range(242, 269)] +
                       [(side, *offset) for side in (242, 247, 268) for offset in ((0, 7), (7, 0))], np.int32)
    crops = random.randint(0, 256, (len(changes), 255, 255, 3)).astype(np.uint8)
    wanted = np.stack([dataloader.change(crop, dataloader.Change(*one)) for crop, one in zip(crops, changes)])
    with tf.Session() as session:
        found = session.run(siamese_model.change(tf.constant(crops, tf.float32), tf.constant(changes)))
    assert found.dtype == np.float32 and np.array_equal(found, wanted)


class Device:
    """`DeviceImages` in a session, fed from batches of its own."""

    def __init__(self, session, tracks, config, keeps_crops, step=0):
        num_kept = sum(map(len, tracks)) if keeps_crops else 0
        self._images = DeviceImages(config.batch_size, num_kept, config.gray_probability > 0)
        self.has_reserved = self._images.reserve(session)
        self._session = session
        self._batches = crop_batches(tracks, config, step, keeps_crops and self.has_reserved)

    def batch(self):
        crops = next(self._batches)
        images = self._session.run([self._images.exemplars, self._images.instances], self._images.feeds(crops))
        return images, len(crops.crops)

    def close(self):
        self._batches.close()


@pytest.mark.parametrize("keeps_crops", [False, True])
@pytest.mark.parametrize("first_step", [0, 3])
@pytest.mark.parametrize("gray_probability", [0.0, 0.5])
def test_batches_are_the_host_s_from_any_step_on(raw, keeps_crops, first_step, gray_probability):
    tracks = imdb.load(str(raw)).train
    config = TrainConfig(batch_size=3, prefetch_capacity=6, pair_order="symmetric", gray_probability=gray_probability)
    host = training_batches(tracks, config, first_step)
    with tf.Session() as session:
        device = Device(session, tracks, config, keeps_crops, first_step)
        num_read = 0
        for _ in range(10):
            wanted, (found, num) = next(host), device.batch()
            assert np.array_equal(found[0], wanted.exemplars) and np.array_equal(found[1], wanted.instances)
            num_read += num
        assert num_read == (8 if keeps_crops else 60)  # two tracks of four crops
    host.close()
    device.close()


def test_a_device_without_memory_is_fed(raw, monkeypatch):
    def fail(self, session):
        raise tf.errors.ResourceExhaustedError(None, None, "no memory")

    monkeypatch.setattr(ResidentArray, "clear", fail)
    tracks, config = imdb.load(str(raw)).train, TrainConfig(batch_size=2, prefetch_capacity=2)
    host = training_batches(tracks, config, 0)
    with tf.Session() as session:
        device = Device(session, tracks, config, keeps_crops=True)
        assert not device.has_reserved
        found, num = device.batch()
    assert num == 4 and np.array_equal(found[0], next(host).exemplars)
    host.close()
    device.close()


@pytest.mark.parametrize("made_by", ["device, fed", "host"])
def test_training_is_the_same(appearance_run, tiny_videos, tmp_path, monkeypatch, made_by):
    """`appearance_run` keeps its crops on the device, as a small data set does by default."""
    assert "kept in memory once decoded" in (appearance_run / "0" / "train_0.log").read_text()
    if made_by == "host":
        monkeypatch.setattr("sa_siam_tf1.training._device_images", lambda *_: None)
    assert train(tiny_videos, tmp_path, "--batch_size=2", "--train_steps=2", "--cache_crops=off") == 0
    wanted, found = (rows(run / "0", "step") for run in (appearance_run, tmp_path))
    assert [row["loss"] for row in found] == [row["loss"] for row in wanted]


def test_xla_leaves_the_images_alone():
    """It would compile the resize anew for every size."""
    DeviceImages(2, 3, True)
    resizes = [op for op in tf.get_default_graph().get_operations() if op.type == "ResizeBilinear"]
    assert len(resizes) == 4 and not any(op.get_attr("_XlaCompile") for op in resizes)
