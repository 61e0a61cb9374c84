"""IDX files are read right or refused by name; batches are those of the original's iterator."""
from __future__ import annotations

import gzip
import os
import shutil
import struct
import tracemalloc

import numpy as np
import pytest

from common.errors import ZooError
from common.tiny_data.mnist import write_idx
from gitloss_tf1 import mnist
from tests.litter import leave_litter

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.fixture
def folder(tmp_path, tiny_mnist_folder):
    target = tmp_path / "mnist"
    shutil.copytree(tiny_mnist_folder, str(target))
    return target


def unpack(folder, name):
    """Replace a .gz file by a plain one."""
    data = gzip.decompress((folder / (name + ".gz")).read_bytes())
    os.remove(str(folder / (name + ".gz")))
    (folder / name).write_bytes(data)
    return data


def test_plain_and_gz_give_the_same(folder):
    before = mnist.load(str(folder))
    for name in (IMAGES, LABELS):
        unpack(folder, name)
    after = mnist.load(str(folder))
    assert np.array_equal(before.train.images, after.train.images)
    assert np.array_equal(before.validation.labels, after.validation.labels)
    assert before.fingerprint != after.fingerprint


def test_the_first_images_validate(tmp_path):
    images = np.zeros((6001, 28, 28), np.uint8)
    images[:, 0, 0] = np.arange(6001) % 251
    for name, count in (("train", 6001), ("t10k", 3)):
        write_idx(str(tmp_path / f"{name}-images-idx3-ubyte"), images[:count])
        write_idx(str(tmp_path / f"{name}-labels-idx1-ubyte"), np.arange(count) % 10)
    data = mnist.load(str(tmp_path))
    assert (len(data.validation.labels), len(data.train.labels), data.notices) == (5000, 1001, [])
    assert np.array_equal(data.validation.images[:, 0, 0, 0], images[:5000, 0, 0])
    assert np.array_equal(data.train.images[:, 0, 0, 0], images[5000:, 0, 0])
    mean = np.mean(images[5000:].astype(np.float32) * np.float32(1 / 255), axis=0)
    np.testing.assert_allclose(data.mean_image[..., 0], mean, atol=1e-6)
    batch = mnist.preprocess(data.train.images[:2], data.mean_image)
    assert batch.dtype == np.float32 and batch.shape == (2, 28, 28, 1)
    np.testing.assert_allclose(batch[:, 0, 0, 0], images[5000:5002, 0, 0] / 255 - mean[0, 0], atol=1e-6)


def test_small_sets_validate_with_a_twelfth(folder):
    data = mnist.load(str(folder))
    assert len(data.validation.labels) == 20 and len(data.train.labels) == 220
    assert "the first 20 are used for it" in data.notices[0]


def break_file(folder, what):  # noqa: PLR0912 - a list of damages
    """Damage the folder; return the name of the file that the error must show."""
    images, labels = folder / IMAGES, folder / LABELS
    if what == "missing":
        os.remove(str(folder / (LABELS + ".gz")))
        return LABELS
    if what == "damaged gzip":
        path = folder / (IMAGES + ".gz")
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(bytes(data))
        return IMAGES
    if what == "truncated gzip":
        path = folder / (IMAGES + ".gz")
        path.write_bytes(path.read_bytes()[:-200])
        return IMAGES
    if what == "no gzip":
        (folder / (IMAGES + ".gz")).write_bytes(b"<html>404</html>")
        return IMAGES
    data = unpack(folder, IMAGES)
    label_data = unpack(folder, LABELS)
    if what == "truncated":
        images.write_bytes(data[:-1])
    elif what == "too long":
        images.write_bytes(data + b"x")
    elif what == "header alone":
        images.write_bytes(data[:7])
    elif what == "wrong magic":
        images.write_bytes(label_data)
    elif what == "empty":
        images.write_bytes(struct.pack(">4I", 2051, 0, 28, 28))
    elif what == "no bytes":
        images.write_bytes(b"")
    elif what == "other size":
        images.write_bytes(struct.pack(">4I", 2051, 1, 14, 14) + bytes(196))
    elif what == "label beyond 9":
        labels.write_bytes(label_data[:-1] + bytes([10]))
        return LABELS
    elif what == "counts differ":
        labels.write_bytes(struct.pack(">2I", 2049, 3) + bytes([1, 2, 3]))
    return IMAGES


@pytest.mark.parametrize("what, message", [
    ("missing", "missing .train labels."), ("damaged gzip", "cannot be read|truncated|more bytes"),
    ("truncated gzip", "cannot be read"), ("no gzip", "cannot be read"), ("truncated", "is truncated"),
    ("too long", "more bytes than the 240 items"), ("header alone", "is truncated, 7 of 16 bytes"),
    ("wrong magic", "magic number 2049, expected 2051"), ("empty", "announces 0 items"),
    ("no bytes", "is truncated, 0 of 16"), ("other size", "images of 14 x 14"),
    ("label beyond 9", "label 10 at position 239"), ("counts differ", "240 images, but .* has 3 labels"),
])
def test_bad_files_are_one_clear_error(folder, what, message):
    name = break_file(folder, what)
    with pytest.raises(ZooError, match=message) as caught:
        mnist.load(str(folder))
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_header_that_announces_too_much_costs_no_memory(tmp_path):
    path = tmp_path / "huge-idx3-ubyte"
    path.write_bytes(struct.pack(">4I", 2051, 2 ** 32 - 1, 28, 28) + bytes(1000))
    tracemalloc.start()
    with pytest.raises(ZooError, match="is truncated, 1000 of"):
        mnist.read_images(str(path))
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()


@pytest.mark.parametrize("num, batch", [(10, 3), (10, 10), (7, 20), (1, 4)])
def test_batches_run_through_shuffled_epochs_without_a_gap(num, batch):
    batches = mnist.Batches(num, batch, seed=5)
    steps = 2 * num + 3
    sequence = np.concatenate([batches.indices(step) for step in range(steps)])
    assert len(sequence) == steps * batch
    epochs = [sequence[start:start + num] for start in range(0, len(sequence) - num + 1, num)]
    assert all(sorted(epoch) == list(range(num)) for epoch in epochs)
    if num > 5:
        assert not np.array_equal(epochs[0], epochs[1]) and not np.array_equal(epochs[0], np.arange(num))


def test_batches_are_a_function_of_seed_and_step():
    forward = mnist.Batches(50, 8, seed=1)
    sequence = [forward.indices(step) for step in range(20)]
    for step in (13, 2, 19, 7):
        assert np.array_equal(mnist.Batches(50, 8, seed=1).indices(step), sequence[step])
    assert not np.array_equal(mnist.Batches(50, 8, seed=2).indices(0), sequence[0])


def test_what_systems_leave_behind_is_no_data(folder):
    clean = mnist.load(folder)
    leave_litter(folder)
    found = mnist.load(folder)
    assert found.fingerprint == clean.fingerprint and np.array_equal(found.train.images, clean.train.images)


def rename(folder, change):
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, change(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.rename(os.path.join(folder, name), path + ".moved")
        os.rename(path + ".moved", path)


@pytest.mark.parametrize("change", [
    lambda name: name.replace("-idx", ".idx"),  # as many copies on the web are named
])
def test_names_of_copies(folder, change):
    clean = mnist.load(folder)
    rename(folder, change)
    found = mnist.load(folder)
    assert np.array_equal(found.train.images, clean.train.images) and mnist.has_data(folder)


def test_emnist_is_turned_and_two_splits_are_refused(folder):
    clean = mnist.load(folder)
    rename(folder, lambda name: "emnist-digits-" + name.replace("t10k", "test"))
    found = mnist.load(folder)
    assert np.array_equal(found.train.images, clean.train.images.transpose(0, 2, 1, 3))
    for name in os.listdir(folder):
        shutil.copy(os.path.join(folder, name), os.path.join(folder, name.replace("digits", "mnist")))
    with pytest.raises(ZooError, match="has emnist-digits-.* and emnist-mnist-.*; remove the files of all but one"):
        mnist.load(folder)
