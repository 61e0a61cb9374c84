"""N-way K-shot episodes and what is said of their results."""
from __future__ import annotations

import numpy as np
import pytest

from common.evaluation import one_shot

LABELS = np.array([3] * 4 + [5] * 2 + [8] * 3 + [9])


def test_classes_need_k_examples_and_a_query():
    assert one_shot.classes_for(LABELS, 1).tolist() == [3, 5, 8]
    assert one_shot.classes_for(LABELS, 2).tolist() == [3, 8]


def test_episodes():
    for seed in range(50):
        episode = one_shot.draw_episode(LABELS, 2, 2, np.random.RandomState(seed))
        assert episode.support.shape == (2, 2) and episode.query.shape == (2,)
        samples = [*episode.support.reshape(-1), *episode.query]
        assert len(set(samples)) == 6
        assert np.array_equal(LABELS[episode.support], np.stack([LABELS[episode.query]] * 2, axis=1))
    with pytest.raises(ValueError, match="4-way 1-shot: only 3 classes have 2 samples"):
        one_shot.draw_episode(LABELS, 4, 1, np.random.RandomState(0))


def test_accuracy_by_hand():
    similarities = np.array([[[0.9, 0.1], [0.4, 0.5], [0.0, 0.2]],  # means 0.5, 0.45, 0.1
                             [[0.1, 0.1], [0.3, 0.3], [0.9, 0.8]]])
    assert one_shot.accuracy(similarities, np.array([0, 2])) == 1.0
    assert one_shot.accuracy(similarities, np.array([1, 2])) == 0.5


@pytest.mark.parametrize("n_way", [2, 5, 20])
def test_saying_the_same_of_all_pairs_is_chance(n_way):
    assert one_shot.accuracy(np.zeros((7, n_way, 1)), np.zeros(7, int)) == pytest.approx(1 / n_way)


def test_estimate():
    found = one_shot.estimate(np.array([0.2, 0.4, 0.6, 0.8]))
    assert found.mean == pytest.approx(0.5) and found.num == 4
    assert found.half_width == pytest.approx(1.96 * 0.2581988897 / 2, rel=1e-4)
    assert np.isnan(one_shot.estimate(np.array([0.3])).half_width)


def test_the_interval_covers_the_truth_95_times_in_100():
    random = np.random.RandomState(0)
    estimates = [one_shot.estimate(random.rand(200)) for _ in range(1000)]
    assert 0.93 < np.mean([abs(found.mean - 0.5) <= found.half_width for found in estimates]) < 0.97
