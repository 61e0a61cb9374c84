"""Images that the device makes are those that the host makes."""
from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from siamese_omniglot import training
from siamese_omniglot.data import augmentation
from siamese_omniglot.data.omniglot import DrawingStore
from siamese_omniglot.device_drawings import DeviceDrawings
from tests.keras.siamese_omniglot.conftest import train
from tests.results import losses


def make(store, compiles, drawings, changes):
    images = tf.function(DeviceDrawings(store, compiles).images)
    return images(tf.constant(drawings), tf.constant(changes)).numpy()


@pytest.fixture(params=["black and white", "gray"])
def store(request):
    """Ink up to the borders, so that those count."""
    colours = np.random.RandomState(0).randint(0, 256, (30, 105, 105)).astype(np.uint8)
    return DrawingStore(list(colours if request.param == "gray" else np.where(colours < 60, 0, 255).astype(np.uint8)))


@pytest.mark.parametrize("compiles", [True, False])
def test_changed_images_are_those_of_the_host_bit_for_bit(store, compiles):
    random = np.random.RandomState(1)
    changes = augmentation.affine_coefficients(random.rand(60, augmentation.NUM_UNIFORM), 105)
    changes[:3] = [[1, 0, 0, 0, 1, 0], [-1, 0, 105, 0, 1, 0], [1, 0, 200, 0, 1, 0]]  # nothing, a mirror, all outside
    drawings = random.randint(0, 30, 60)
    expected = np.stack([augmentation.change_affinely(*pair) for pair in zip(store.take(drawings), changes)])
    found = make(store, compiles, drawings, changes)
    assert found.dtype == np.uint8 and np.array_equal(found, expected)
    unchanged = store.take(drawings)
    assert np.array_equal(found[0], unchanged[0]) and np.array_equal(found[1], unchanged[1, :, ::-1])
    assert np.all(found[2] == 255)


def test_unchanged_images(store):
    drawings = np.array([4, 0, 29])
    assert np.array_equal(make(store, True, drawings, np.empty((3, 0))), store.take(drawings))


def test_no_changes_are_those_of_random_numbers_above_one_half():
    assert np.array_equal(augmentation.affine_coefficients(np.full((1, 14), 0.7), 105), [[1, 0, 0, 0, 1, 0]])


def test_a_hand_worked_change():
    """Nothing but a translation by a pixel: the sixth number is below one half, 3/4 of -2 to 2 follows."""
    uniform = np.full((1, augmentation.NUM_UNIFORM), 0.5)
    uniform[0, 5:7] = 0.25, 0.75  # the first five parameters use one number each
    assert np.array_equal(augmentation.affine_coefficients(uniform, 105), [[1, 0, -1, 0, 1, 0]])


@pytest.mark.parametrize("augment", ["affine", "none"])
def test_a_training_is_the_same_with_images_of_the_host(tmp_path, tiny_folder, monkeypatch, augment):
    flags = (f"--augment={augment}", "--train_steps=5", "--performance", "--num_workers=1")
    assert train(tiny_folder, tmp_path / "device", *flags) == 0
    monkeypatch.setattr(training, "makes_images_on_device", lambda *_: False)
    assert train(tiny_folder, tmp_path / "host", *flags) == 0
    assert losses(tmp_path / "device" / "0") == losses(tmp_path / "host" / "0")


def test_an_npu_gets_images():
    from siamese_omniglot.recipe import RECIPES

    switches = RECIPES["corrected"]
    assert not training.makes_images_on_device(switches, "npu") and training.makes_images_on_device(switches, "gpu")
