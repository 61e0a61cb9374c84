"""The ROC, its area and the equal error rate against loops over pairs and values worked by hand."""
from __future__ import annotations

import numpy as np
import pytest

from common.evaluation.roc import area, equal_error_rate, roc


def rates(threshold, distances, is_same):
    """False accept and false reject rate, pair by pair."""
    accepted = [distance < threshold for distance in distances]
    wrong = sum(1 for below, same in zip(accepted, is_same) if below and not same)
    missed = sum(1 for below, same in zip(accepted, is_same) if same and not below)
    return wrong / (len(is_same) - sum(is_same)), missed / sum(is_same)


def make(seed):
    random = np.random.RandomState(seed)
    is_same = np.arange(200) % 4 < 2
    return np.abs(random.randn(200)) + np.where(is_same, 0.0, 0.9), is_same


def test_roc_by_hand():
    curve = roc(-np.array([0.9, 0.8, 0.7, 0.7, 0.1]), np.array([True, False, True, False, False]))
    assert curve.true_accept.tolist() == [0, 0.5, 0.5, 1, 1]
    np.testing.assert_allclose(curve.false_accept, [0, 0, 1 / 3, 2 / 3, 1])
    wins = 1 + 1 + 1 + 0 + 0.5 + 1  # of 2 x 3 comparisons; a tie counts half
    assert area(curve) == pytest.approx(wins / 6)


@pytest.mark.parametrize("seed", range(5))
def test_against_loops(seed):
    distances, is_same = make(seed)
    curve = roc(distances, is_same)
    points = [rates(threshold, distances, is_same) for threshold in [*np.unique(distances), np.inf]]
    np.testing.assert_allclose(np.transpose([curve.false_accept, 1 - curve.true_accept]), points, atol=1e-12)
    wins = np.mean([(same < different) + 0.5 * (same == different)
                    for same in distances[is_same] for different in distances[~is_same]])
    assert area(curve) == pytest.approx(wins)
    bound = min(max(point) for point in points)  # within the share of one pair
    assert bound - 1 / 100 <= equal_error_rate(curve) <= bound + 1e-12


@pytest.mark.parametrize("distances, is_same, wanted", [
    ([0.1, 0.2, 0.8, 0.9], [True, True, False, False], 0.0),
    ([0.8, 0.9, 0.1, 0.2], [True, True, False, False], 1.0),
    ([0.1, 0.8, 0.2, 0.9], [True, True, False, False], 0.5),
    ([0.5, 0.5, 0.5, 0.5], [True, True, False, False], 0.5),
])
def test_equal_error_rate_by_hand(distances, is_same, wanted):
    assert equal_error_rate(roc(np.array(distances), np.array(is_same))) == pytest.approx(wanted)
