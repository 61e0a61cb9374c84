"""Kept features are the computed ones, in memory and on disk, after a kill too."""
from __future__ import annotations

import json
import os
import threading

import numpy as np
import pytest

from common.cli.program import Stopped
from common.errors import ZooError
from siamese_triplet_tf2 import features, pairs
from siamese_triplet_tf2.features import Decoding
from tests.keras.siamese_triplet_tf2.conftest import train

SHAPE = (2, 3)


def compute(numbers):
    return np.stack([np.full(SHAPE, number, np.float32) for number in numbers])


def never(numbers):
    raise AssertionError("computed again")


def nothing():
    """No one asks to stop."""


def values(kept, num):
    return kept(np.arange(num))[:, 0, 0].tolist()


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("num", [1, 32, 70])
def test_kept_is_computed(tmp_path, num, on_disk):
    kept = features.KeptFeatures(compute, SHAPE, num)
    kept.fill(nothing, str(tmp_path) if on_disk else None, "mark")
    assert values(kept, num) == list(range(num))
    assert kept(np.array([num - 1, 0])).shape == (2, *SHAPE)


def test_every_batch_has_one_shape():
    sizes = []

    def counting(numbers):
        sizes.append(len(numbers))
        return compute(numbers)

    features.KeptFeatures(counting, SHAPE, 40).fill(nothing)
    assert sizes == [features.BATCH_SIZE] * 2


def test_a_stopped_fill_is_resumed(tmp_path):
    asked = []

    def stop_at_third():
        asked.append(1)
        if len(asked) == 3:
            raise Stopped(15)

    with pytest.raises(Stopped):
        features.KeptFeatures(compute, SHAPE, 100).fill(stop_at_third, str(tmp_path), "mark")
    assert json.loads((tmp_path / "features.json").read_text()) == {"fingerprint": "mark", "images": 64}
    computed = []

    def recording(numbers):
        computed.extend(numbers.tolist())
        return compute(numbers)

    kept = features.KeptFeatures(recording, SHAPE, 100)
    kept.fill(nothing, str(tmp_path), "mark")
    assert min(computed) == 64 and values(kept, 100) == list(range(100))
    again = features.KeptFeatures(never, SHAPE, 100)
    again.fill(nothing, str(tmp_path), "mark")
    assert values(again, 100) == list(range(100))


@pytest.mark.parametrize("spoil", [
    lambda path: (path / "features.json").write_text("{"),
    lambda path: (path / "features.json").unlink(),
    lambda path: (path / "features.json").write_text('{"fingerprint": "other", "images": 50}'),
    lambda path: os.truncate(str(path / "features.float32"), 7),
])
def test_damaged_or_foreign_features_are_computed_again(tmp_path, spoil):
    features.KeptFeatures(lambda numbers: compute(numbers) + 1, SHAPE, 50).fill(nothing, str(tmp_path), "mark")
    spoil(tmp_path)
    kept = features.KeptFeatures(compute, SHAPE, 50)
    kept.fill(nothing, str(tmp_path), "mark")
    assert values(kept, 50) == list(range(50))


def test_a_small_disk_is_an_error_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(features.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 100}))
    with pytest.raises(ZooError, match="of features do not fit, 0.0 GB are free.*--cache_features=memory or off"):
        features.KeptFeatures(never, SHAPE, 50).fill(nothing, str(tmp_path), "mark")
    assert os.listdir(str(tmp_path)) == []


def test_a_disk_that_fills_meanwhile_is_an_error(tmp_path, monkeypatch):
    def full(fd, offset, size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(features.os, "posix_fallocate", full)
    with pytest.raises(ZooError, match="No space left on device.*--cache_features=memory or off"):
        features.KeptFeatures(never, SHAPE, 50).fill(nothing, str(tmp_path), "mark")


@pytest.mark.parametrize("requested, memory, disk, chosen", [
    ("auto", 1e9, 1e12, "memory"), ("auto", 100, 1e12, "disk"), ("auto", 100, 100, "off"),
    ("disk", 1e9, 1e12, "disk"), ("memory", 1, 1, "memory"), ("off", 1e9, 1e9, "off"),
])
def test_choice(requested, memory, disk, chosen):
    assert features.choose(requested, 1000, (7, 7, 16), memory, disk) == chosen


def test_size_of_the_real_data_set():
    assert features.total_bytes(12032, (7, 7, 2048)) == 12032 * 401408 == 4_829_741_056


def test_the_fingerprint_follows_weights_images_and_reading(tiny):
    def mark(data="data", accurate=False, scale="unit"):
        return features.ImageFeatures(tiny.frozen, [], Decoding(accurate), scale).fingerprint(data)

    before = mark()
    assert before == mark() and len({before, mark("other"), mark(accurate=True), mark(scale="255")}) == 4
    kernel = tiny.frozen.weights[0]
    old = np.asarray(kernel).copy()
    kernel.assign(old + 1)
    assert mark() != before
    kernel.assign(old)


def test_computed_from_files(tiny, look_alike_folder):
    paths = pairs.load(look_alike_folder).images()
    compute_them = features.ImageFeatures(tiny.frozen, paths, Decoding(accurate=False), "unit")
    both = compute_them(np.array([3, 1]))
    assert both.shape == (2, 13, 13, 16) and both.dtype == np.float32
    # another place in the batch may sum in another order
    np.testing.assert_allclose(both[1], compute_them(np.array([1, 3]))[0], rtol=1e-5, atol=1e-5)


def anonymous_memory():
    """Bytes that this process holds besides files, or None where Linux does not say."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["RssAnon"].split()[0]) * 1024
    except (OSError, KeyError):
        return None


def test_features_on_disk_take_no_memory(tmp_path):
    """160 MB on disk; the file's pages are the system's, which takes them back when it needs them."""
    shape, num = (200, 1000), 200
    before = anonymous_memory()
    if before is None:
        pytest.skip("the system does not say how much memory a process holds")
    kept = features.KeptFeatures(lambda numbers: np.zeros((len(numbers), *shape), np.float32), shape, num)
    kept.fill(nothing, str(tmp_path), "mark")
    assert features.total_bytes(num, shape) == 160_000_000
    assert anonymous_memory() - before < 60_000_000  # a batch of 26 MB comes and goes


def test_images_are_decoded_ahead(tiny, look_alike_folder, monkeypatch):
    """The features of expected images are those of images decoded now, and an error of decoding reaches the caller."""
    paths = pairs.load(look_alike_folder).images()
    compute = features.ImageFeatures(tiny.frozen, paths, Decoding(accurate=False), "unit")
    rows, others = np.array([5, 0, 5, 7]), np.array([1, 2, 3, 4])
    wanted = compute(rows)
    threads, load = [], features.load_batch
    monkeypatch.setattr(features, "load_batch",
                        lambda *given: threads.append(threading.current_thread()) or load(*given))
    compute.expect(rows)
    assert (compute(others) != wanted).any()  # not what was expected; that is still kept
    assert (compute(rows) == wanted).all() and (compute(rows) == wanted).all()
    assert [thread is threading.main_thread() for thread in threads].count(True) == 2 and len(threads) == 3

    def fail(*given):
        raise ZooError("no image")

    monkeypatch.setattr(features, "load_batch", fail)
    compute.expect(rows)
    with pytest.raises(ZooError, match="no image"):
        compute(rows)


def test_an_uncached_run_decodes_the_next_batch_ahead(tmp_path, look_alike_folder, monkeypatch):
    expected, real = [], features.ImageFeatures.expect
    monkeypatch.setattr(features.ImageFeatures, "expect",
                        lambda self, rows: expected.append(len(rows)) or real(self, rows))
    assert train(look_alike_folder, tmp_path, "--cache_features=off", "--train_steps=4", "--batch_size=7") == 0
    assert expected == [21, 21, 9]  # steps 2, 3 and 4, the last of the epoch
