"""From crops to batches: pairs, passes, augmentation."""
from __future__ import annotations

import itertools
import os

import numpy as np
import pytest

from common.errors import ZooError
from sa_siam_tf1.configuration import TrainConfig
from sa_siam_tf1.datasets import dataloader, imdb
from sa_siam_tf1.datasets.dataloader import choose_cache, passes, sample_pair, training_batches, validation_batches


def test_pairs():
    random = np.random.RandomState(0)
    assert [sample_pair(count, 100, random) for count in (1, 2)] == [(0, 0), (0, 1)]
    pairs = [sample_pair(50, 5, random) for _ in range(300)]
    assert {late - early for early, late in pairs} == {1, 2, 3, 4, 5}
    assert min(early for early, _ in pairs) == 0 and max(late for _, late in pairs) == 49


def test_passes_can_be_entered_anywhere():
    examples = list(itertools.islice(passes(7, 3, 0), 30))
    assert [example[:2] for example in examples] == [divmod(index, 7) for index in range(30)]
    tracks = [track for *_, track in examples]
    assert sorted(tracks[7:14]) == sorted(tracks[:7]) == list(range(7)) and tracks[7:14] != tracks[:7]
    for first in (6, 7, 25):
        assert list(itertools.islice(passes(7, 3, first), 5)) == examples[first:first + 5]


def loader(raw, step=0, **changes):
    config = TrainConfig(batch_size=3, prefetch_capacity=6, **changes)
    return training_batches(imdb.load(str(raw)).train, config, step)


def test_batches_depend_on_seed_and_step_alone(raw):
    batches = loader(raw, prefetch_threads=3)
    first, second, third = (next(batches) for _ in range(3))
    assert first.exemplars.shape == first.instances.shape == (3, 239, 239, 3)
    assert first.exemplars.dtype == np.float32 and first.exemplars.min() >= 0 and first.exemplars.max() <= 255
    batches.close()
    later = loader(raw, 2, prefetch_threads=1)
    found = next(later)
    assert np.array_equal(found.exemplars, third.exemplars) and np.array_equal(found.instances, third.instances)
    later.close()
    other = loader(raw, seed=1)
    assert not np.array_equal(next(other).exemplars, first.exemplars)
    other.close()
    assert not np.array_equal(first.exemplars, second.exemplars)


def test_crops_that_are_kept_are_read_once_and_change_nothing(raw, monkeypatch):
    tracks, reads = imdb.load(str(raw)).train, []
    read = imdb.Crop.read
    monkeypatch.setattr(imdb.Crop, "read", lambda crop: reads.append(crop) or read(crop))
    config = TrainConfig(batch_size=3, prefetch_capacity=6, prefetch_threads=1, gray_probability=0.5)
    found = {}
    for keeps_crops in (False, True):
        reads.clear()
        batches = training_batches(tracks, config, 0, keeps_crops)
        found[keeps_crops] = [next(batches) for _ in range(12)]
        batches.close()
        assert (len(reads) == len(set(reads))) == keeps_crops  # twelve batches use some crops twice
    for fresh, kept in zip(found[False], found[True]):
        assert np.array_equal(fresh.exemplars, kept.exemplars) and np.array_equal(fresh.instances, kept.instances)


@pytest.mark.parametrize("requested, free, keeps", [
    ("auto", 4 * 5 * 195075, True), ("auto", 4 * 5 * 195075 - 1, False), ("memory", 1, True), ("off", 1e12, False)])
def test_crops_are_kept_where_a_quarter_of_the_memory_holds_them(requested, free, keeps):
    found, notice = choose_cache(requested, [["a", "b"], ["c", "d", "e"]], free)
    assert found == keeps
    assert notice.startswith("Crops: 5, 1 MB, " + ("kept in memory" if keeps else "decoded whenever"))


def test_a_corrupt_frame_is_named_when_its_batch_is_due(raw):
    for base, _, names in os.walk(str(raw / "Data")):
        for name in names:
            os.truncate(os.path.join(base, name), 700)
    batches = loader(raw)
    with pytest.raises(ZooError, match=r"\.JPEG: not a readable image"):
        next(batches)
    batches.close()


def test_gray_pairs_are_gray(raw):
    batches = loader(raw, gray_probability=1.0)
    found = next(batches)
    assert np.ptp(found.exemplars, axis=3).max() < 1e-3 and np.ptp(found.instances, axis=3).max() < 1e-3
    batches.close()


def test_symmetric_pairs_come_in_either_order(raw, monkeypatch):
    orders = {}
    for order in ("forward", "symmetric"):
        read = []
        monkeypatch.setattr(imdb.Crop, "read", lambda crop, read=read: read.append(crop) or np.zeros((255, 255, 3)))
        batches = loader(raw, pair_order=order, prefetch_threads=1)
        for _ in range(10):
            next(batches)
        batches.close()
        orders[order] = {one.path < other.path for one, other in zip(read[::2], read[1::2])}
    assert orders == dict(forward={True}, symmetric={True, False})


def test_validation_pairs_are_always_the_same(raw):
    tracks = imdb.load(str(raw)).train
    config = TrainConfig(batch_size=3)
    ((first, count),), ((second, _),) = (list(validation_batches(tracks, config)) for _ in range(2))
    assert count == 2 and first.exemplars.shape == (3, 255, 255, 3)
    assert np.array_equal(first.exemplars, second.exemplars) and np.array_equal(first.instances, second.instances)
    assert np.array_equal(first.exemplars[1], first.exemplars[2])  # filled up


def test_changes_stay_in_range():
    random = np.random.RandomState(1)
    changes = np.array([dataloader.draw_change(random) for _ in range(500)])
    assert set(changes[:, 0]) == set(range(242, 269))
    assert set(changes[:, 1]) == set(changes[:, 2]) == set(range(8))


def test_a_change_crops_the_middle_of_the_stretched_image():
    image = np.random.RandomState(0).randint(1, 256, (255, 255, 3)).astype(np.uint8)
    same = dataloader.change(image, dataloader.Change(255, 2, 7))
    assert same.dtype == np.float32 and np.array_equal(same, image[4 + 2:4 + 2 + 239, 4 + 7:4 + 7 + 239])
    smaller = dataloader.change(image, dataloader.Change(242, 0, 1))  # 242 pixels in the middle of 247
    assert np.all(smaller[:2] == 0) and np.all(smaller[:, :1] == 0) and np.all(smaller[2:, 1:] > 0)
    assert np.array_equal(smaller[2:, 1:], dataloader.resize_bilinear(image, 242)[:237, :238])


def test_gray_is_rounded_from_the_exact_sum():
    """Of all colours with red 0 and green 29, 17.023 + 0.114 blue, from 17 to 46."""
    image = np.stack([np.zeros(256), np.full(256, 29), np.arange(256)], axis=1).astype(np.uint8)[None]
    wanted = np.round(17.023 + 0.114 * np.arange(256))
    assert np.array_equal(dataloader.gray(image)[0], np.stack([wanted] * 3, axis=1))
