"""Which images make triplets: order, split, negatives."""
from __future__ import annotations

import os

import numpy as np
import pytest

from common.errors import ZooError
from siamese_triplet_tf2 import pairs
from siamese_triplet_tf2.pairs import Sampler
from tests.litter import leave_litter


@pytest.mark.parametrize("negatives", ["listed", "others"])
def test_the_split_is_disjoint_over_all_epochs(negatives):
    sampler = Sampler(300, seed=3, split="fixed", negatives=negatives)
    assert sampler.num_train == 240
    trained = [sampler.train(epoch) for epoch in range(20)]
    validated = [sampler.validation(epoch) for epoch in range(20)]
    train, validation = ({number for triplets in found for number in triplets.anchor} for found in (trained, validated))
    assert len(train) == 240 and len(validation) == 60 and not train & validation
    assert train | validation == set(range(300))
    assert sorted(validation) == sampler.validation_pairs().tolist()
    assert all(np.array_equal(found.negative, validated[0].negative) for found in validated)
    assert not np.array_equal(trained[0].anchor, trained[1].anchor)


def test_the_original_s_split_lets_validation_pairs_train():
    sampler = Sampler(320, seed=0, split="redrawn", negatives="listed")
    trained: set[int] = set()
    overlaps = []
    for epoch in range(3):
        trained |= set(sampler.train(epoch).anchor.tolist())
        validation = set(sampler.validation(epoch).anchor.tolist())
        assert len(validation) == 64
        overlaps.append(len(validation & trained) / 64)
    assert overlaps[0] > 0.6 and overlaps[2] > 0.95  # recorded: 0.75 to 0.84, and 1.00 after three epochs


def test_positives_belong_to_their_anchors():
    for triplets in (Sampler(50, 0, "fixed", "listed").train(0), Sampler(50, 0, "redrawn", "others").train(1)):
        assert (triplets.positive - triplets.anchor == 50).all() and len(triplets) == 40


def test_other_negatives_are_never_of_the_pair_and_every_image_is_drawn():
    sampler = Sampler(6, seed=1, split="fixed", negatives="others")
    drawn: dict[int, set[int]] = {anchor: set() for anchor in range(6)}
    for epoch in range(300):
        for triplets in (sampler.train(epoch), sampler.all()):
            for anchor, negative in zip(triplets.anchor, triplets.negative):
                drawn[int(anchor)].add(int(negative))
    for anchor in sampler.train(0).anchor:
        assert drawn[int(anchor)] == set(range(12)) - {int(anchor), int(anchor) + 6}


def test_listed_negatives_come_from_the_list_s_beginning():
    """A full buffer of 4,096 has seen 4,096 + n places when n are drawn, so the end of a long list never comes."""
    num = 6016
    listed = pairs.negative_list(num)
    place = {int(number): index for index, number in enumerate(listed)}
    found = Sampler(num, 0, "redrawn", "listed").train(0).negative
    assert max(place[int(number)] for number in found) < pairs.NEGATIVE_BUFFER + num - 1 == 10111


@pytest.mark.parametrize("num, take, size", [(10, 10, 4), (5, 5, 10), (50, 20, 8), (3, 0, 2)])
def test_buffered_shuffle(num, take, size):
    order = pairs.buffered_shuffle(num, take, size, np.random.RandomState(0))
    assert len(order) == take == len(set(order.tolist()))
    # an element can come at the earliest when it is in the buffer
    assert all(element <= place + size - 1 for place, element in enumerate(order))


def test_everything_follows_from_seed_and_epoch():
    one, other, third = (Sampler(100, seed, "fixed", "listed").train(4) for seed in (7, 7, 8))
    assert np.array_equal(one.anchor, other.anchor) and np.array_equal(one.negative, other.negative)
    assert not np.array_equal(one.anchor, third.anchor)


def folder(tmp_path, left, right):
    for side, names in (("left", left), ("right", right)):
        if names is not None:
            (tmp_path / side).mkdir()
            for name in names:
                (tmp_path / side / name).write_bytes(b"x")
    return str(tmp_path)


@pytest.mark.parametrize("left, right, message", [
    (["a.jpg", "b.jpg"], None, "right: missing"),
    (["a.jpg"], [], "right: contains no image"),
    (["a.jpg", "b.jpg"], ["a.jpg"], "2 images in left/ and 1 in right/.*b has no counterpart"),
    (["a.jpg", "b.jpg", "c.jpg"], ["a.jpg", "c.jpg", "d.jpg"], r"left/b is paired with right/c \(2 such pairs\)"),
    (["a.jpg"], ["a.jpg"], "1 pair, at least two"),
])
def test_folders_that_do_not_pair(tmp_path, left, right, message):
    with pytest.raises(ZooError, match=message):
        pairs.load(folder(tmp_path, left, right))


def test_pairs_by_position_with_other_names_are_announced(tmp_path):
    data = pairs.load(folder(tmp_path, ["b.jpg", "a.png"], ["x.JPG", "y.jpeg"]))
    assert [path[-5:] for path in data.left] == ["a.png", "b.jpg"]
    assert "no names in left/ and right/ match" in data.notices[0]
    assert data.images() == data.left + data.right


def test_the_fingerprint_follows_names_and_sizes(tmp_path):
    path = folder(tmp_path, ["a.jpg", "b.jpg"], ["a.jpg", "b.jpg"])
    before = pairs.load(path).fingerprint()
    assert before == pairs.load(path).fingerprint() and before[0] == 4
    (tmp_path / "left" / "a.jpg").write_bytes(b"xy")
    assert pairs.load(path).fingerprint() != before


def test_what_systems_leave_behind_is_no_image(tmp_path):
    path = folder(tmp_path, ["1.jpg", "10.jpg", "2.jpg"], ["1.jpg", "10.jpg", "2.jpg"])
    clean = pairs.load(path)
    leave_litter(path)
    assert pairs.load(path) == clean
    assert [os.path.basename(image) for image in clean.left] == ["1.jpg", "10.jpg", "2.jpg"]  # the original's order
