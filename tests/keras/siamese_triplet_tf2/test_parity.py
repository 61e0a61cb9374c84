"""The triplet network agrees with the original's recorded numbers, and the comparison notices when it would not."""
from __future__ import annotations

import os

import numpy as np
import pytest

from tests import GOLDEN
from tests.parity import siamese_triplet
from tests.parity.changes import changed
from tests.parity.comparison import FixtureError

NETWORK = os.path.join(GOLDEN, "siamese_triplet", "triplet_parity_tf2.6.5.npz")
NEGATIVES = os.path.join(GOLDEN, "siamese_triplet", "data_facts.npz")


def test_network_and_one_step():
    comparison = siamese_triplet.compare(NETWORK)
    summary = comparison.summary("siamese_triplet", NETWORK)
    assert comparison.holds, summary
    assert {group: entry["compared"] for group, entry in summary["groups"].items()} == dict(
        names=4, weights=2, embeddings=2, distances_unit=4, distances_full255=4, batch_statistics=6, loss=7, gradient=1,
        gradient_swapped=1, step=1, distances_after=2)


def test_order_of_negatives():
    comparison = siamese_triplet.compare(NEGATIVES)
    assert comparison.holds, comparison.summary("siamese_triplet", NEGATIVES)


def test_another_order_is_noticed(tmp_path):
    assert not siamese_triplet.compare(changed(NEGATIVES, tmp_path, neg10=lambda value: value[::-1])).holds
    for changes, message in ((dict(surprise=np.zeros(2)), "unknown key surprise"), (dict(neg10=None), "neither")):
        with pytest.raises(FixtureError, match=message):
            siamese_triplet.compare(changed(NEGATIVES, tmp_path, **changes))
