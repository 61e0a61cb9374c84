"""Verification against the protocol written out in loops, on random pairs and on awkward ones."""
from __future__ import annotations

import math

import numpy as np
import pytest

from circleloss_tf1 import lfw, thresholds
from circleloss_tf1.lfw import ANGLE, SQUARED_EUCLIDEAN
from common.evaluation.roc import SortedPairs


def distance(first, second, metric):
    if metric == SQUARED_EUCLIDEAN:
        return sum((float(a) - float(b)) ** 2 for a, b in zip(first, second))
    cosine = float(np.dot(first, second)) / math.sqrt(float(np.dot(first, first)) * float(np.dot(second, second)))
    return math.acos(max(-1.0, min(1.0, cosine))) / math.pi


def rates(threshold, distances, is_same):
    """True and false accept rate and accuracy, pair by pair."""
    same = sum(1 for d, s in zip(distances, is_same) if s and d < threshold)
    different = sum(1 for d, s in zip(distances, is_same) if not s and d < threshold)
    num_same, num_different = sum(is_same), len(is_same) - sum(is_same)
    accuracy = (same + num_different - different) / len(is_same)
    return same / num_same, different / num_different, accuracy


def protocol(embeddings, is_same, num_folds, metric, subtract_mean):
    """The protocol, a fold and a threshold at a time, with folds of equal size."""
    first, second = embeddings[0::2], embeddings[1::2]
    size = len(is_same) // num_folds
    accuracies, vals, fars, curves = [], [], [], []
    for fold in range(num_folds):
        test = list(range(fold * size, (fold + 1) * size))
        train = [pair for pair in range(len(is_same)) if pair not in test]
        mean = np.mean(np.concatenate([first[train], second[train]]), axis=0) if subtract_mean else 0.0
        distances = np.array([distance(a - mean, b - mean, metric) for a, b in zip(first, second)])
        on = {name: (distances[pairs], is_same[pairs]) for name, pairs in (("train", train), ("test", test))}
        best = max(lfw.THRESHOLDS, key=lambda t: rates(t, *on["train"])[2])  # the first of several
        accuracies.append(rates(best, *on["test"])[2])
        curves.append([rates(threshold, *on["test"])[:2] for threshold in lfw.THRESHOLDS])
        found = [rates(threshold, *on["train"])[1] for threshold in lfw.FINE_THRESHOLDS]
        threshold = 0.0
        if max(found) >= 1e-3:
            last = max(index for index, far in enumerate(found) if far <= 1e-3)
            share = (1e-3 - found[last]) / (found[last + 1] - found[last])
            threshold = lfw.FINE_THRESHOLDS[last] + 0.001 * share
        val, far, _ = rates(threshold, *on["test"])
        vals.append(val)
        fars.append(far)
    return accuracies, vals, fars, np.mean(curves, axis=0)


def make(num_pairs=80, dim=6, seed=0, noise=0.5):
    random = np.random.RandomState(seed)
    is_same = np.arange(num_pairs) % 4 < 2
    first = random.randn(num_pairs, dim)
    second = np.where(is_same[:, None], first + noise * random.randn(num_pairs, dim), random.randn(num_pairs, dim))
    rows = np.stack([first, second], axis=1).reshape(-1, dim)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), is_same


@pytest.mark.parametrize("metric", [SQUARED_EUCLIDEAN, ANGLE])
@pytest.mark.parametrize("subtract_mean", [False, True])
def test_against_loops(metric, subtract_mean):
    embeddings, is_same = make(40)
    found = lfw.verify(embeddings, is_same, 4, metric, subtract_mean)
    accuracies, vals, fars, curves = protocol(embeddings, is_same, 4, metric, subtract_mean)
    np.testing.assert_allclose(found.accuracies, accuracies, atol=1e-12)
    np.testing.assert_allclose(found.val_rates, vals, atol=1e-12)
    np.testing.assert_allclose(found.val_fars, fars, atol=1e-12)
    np.testing.assert_allclose(found.true_positive_rates, curves[:, 0], atol=1e-12)
    np.testing.assert_allclose(found.false_positive_rates, curves[:, 1], atol=1e-12)


def test_distances_in_float32_are_computed_in_float64():
    embeddings, _ = make(300)
    for metric in (SQUARED_EUCLIDEAN, ANGLE):
        rounded = embeddings.astype(np.float32)
        wanted = [distance(a, b, metric) for a, b in zip(rounded[0::2].astype(float), rounded[1::2].astype(float))]
        np.testing.assert_allclose(lfw.row_distances(rounded[0::2], rounded[1::2], metric), wanted, atol=1e-12)


def test_hand_worked():
    """Unit vectors at 0, 90 and 180 degrees."""
    rows = np.array([[1, 0], [1, 0], [1, 0], [0, 1], [1, 0], [-1, 0]], float)
    np.testing.assert_allclose(lfw.row_distances(rows[0::2], rows[1::2], SQUARED_EUCLIDEAN), [0, 2, 4])
    np.testing.assert_allclose(lfw.row_distances(rows[0::2], rows[1::2], ANGLE), [0, 0.5, 1], atol=1e-12)


def test_angle_of_rounded_and_of_zero_vectors_is_a_number():
    row = np.full((1, 3), 0.1) * 3
    rows = np.concatenate([row, row * (1 + 1e-16), row, np.zeros((1, 3))])
    np.testing.assert_array_equal(np.isfinite(lfw.row_distances(rows[0::2], rows[1::2], ANGLE)), True)
    assert lfw.row_distances(rows[0::2], rows[1::2], ANGLE)[1] == 0.5


def test_all_embeddings_equal():
    """Nothing can be told apart: accuracy one half; the interpolated threshold accepts all pairs and FAR says so."""
    is_same = np.arange(40) % 2 == 0
    found = lfw.verify(np.ones((80, 3)), is_same, 4)
    assert (found.accuracies.mean(), found.equal_error_rate) == (0.5, 0.5)
    assert (found.val_rates.mean(), found.val_fars.mean()) == (1.0, 1.0)


def test_threshold_at_far():
    distances, is_same = np.arange(1, 101) / 100.0, np.arange(100) < 0
    for far in (0.05, 0.1, 0.5):
        threshold = lfw.threshold_at_far(SortedPairs.of(distances, is_same), far)
        assert np.mean(distances < threshold) == pytest.approx(far, abs=0.011)


@pytest.mark.parametrize("far, chosen_by, chosen", [(0.1, "far", 0.5), (0.05, "accuracy", 0.41)])
def test_a_far_that_the_pairs_cannot_resolve_is_not_chosen(far, chosen_by, chosen):
    """Ten different pairs at 0.5, 0.6, ...: one of them is the least FAR, 0.1."""
    distances = np.append(np.full(10, 0.4), np.arange(5, 15) / 10.0)
    found = thresholds.measure(distances, np.arange(20) < 10, far)
    assert (found.chosen_by, found.num_different) == (chosen_by, 10)
    assert found.chosen == pytest.approx(chosen, abs=0.11 if chosen_by == "far" else 1e-9)
    assert found.best_accuracy == pytest.approx(0.41)


@pytest.mark.parametrize("embeddings, is_same, folds, metric, message", [
    (np.zeros((6, 2)), np.ones(4, bool), 2, 0, "expected embeddings"),
    (np.zeros((8, 2)), np.arange(4) % 2 == 0, 2, 2, "metric 2"),
    (np.zeros((8, 2)), np.arange(4) < 2, 2, 0, "fold 1 of 2 has only same pairs"),
    (np.zeros((8, 2)), np.arange(4) % 2 == 0, 5, 0, "5 folds of 4 pairs"),
    (np.zeros((8, 2)), np.arange(4) % 2 == 0, 1, 0, "1 folds"),
])
def test_wrong_values_are_refused(embeddings, is_same, folds, metric, message):
    with pytest.raises(ValueError, match=message):
        lfw.verify(embeddings, is_same, folds, metric)


def test_uneven_folds_are_those_of_k_fold():
    """The first folds are larger, as scikit-learn's KFold has them."""
    is_same = np.arange(11) % 2 == 0
    assert [fold.stop - fold.start for fold in lfw.fold_slices(is_same, 3)] == [4, 4, 3]
