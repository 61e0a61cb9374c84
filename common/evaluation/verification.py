"""Face verification on pairs: distances, ROC, k-fold accuracy, VAL@FAR and EER, as in facenet's LFW protocol.

A pair is accepted as "same" if its distance is strictly below a threshold. Rows 2i and 2i + 1 of the embeddings are
pair i. Folds are contiguous and not shuffled; their sizes differ by at most one, larger folds first.
"""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from common.evaluation.roc import SortedPairs, equal_error_rate, roc

SQUARED_EUCLIDEAN, ANGLE = 0, 1
METRICS = (SQUARED_EUCLIDEAN, ANGLE)
THRESHOLDS = np.arange(0, 4, 0.01)  # of the accuracy and of the ROC
FINE_THRESHOLDS = np.arange(0, 4, 0.001)  # of VAL@FAR
FAR_TARGET = 1e-3
_ROWS_PER_CHUNK = 128  # whose differences fit into the cache


class Verification(NamedTuple):
    """Results of the protocol; rates are between 0 and 1."""

    thresholds: np.ndarray  # float64 [thresholds], of the ROC
    true_positive_rates: np.ndarray  # float64 [thresholds], mean over the folds' test pairs
    false_positive_rates: np.ndarray  # float64 [thresholds]
    accuracies: np.ndarray  # float64 [folds], with the best threshold of the other folds
    accuracy_thresholds: np.ndarray  # float64 [folds]
    val_rates: np.ndarray  # float64 [folds], same pairs accepted at the threshold for `far_target` on the other folds
    val_fars: np.ndarray  # float64 [folds], different pairs accepted
    val_thresholds: np.ndarray  # float64 [folds]
    equal_error_rate: float  # over all pairs, with one threshold
    distances: np.ndarray  # float64 [pairs], without mean subtraction


def verify(embeddings: np.ndarray, is_same: np.ndarray, num_folds: int = 10, metric: int = SQUARED_EUCLIDEAN,
           subtract_mean: bool = False, far_target: float = FAR_TARGET) -> Verification:
    """Run the protocol on embeddings, float [2 * pairs, dim], of which bool [pairs] are the same, with 2 folds or more.

    The metric is SQUARED_EUCLIDEAN, or ANGLE (arccos of the cosine, divided by pi). `subtract_mean` first subtracts the
    mean embedding of the training folds; the rows are not normalised again. VAL is measured at the false accept rate
    `far_target`. Raises ValueError if the shapes do not match, or a fold lacks same or different pairs.
    """
    is_same = np.asarray(is_same, bool)
    if embeddings.ndim != 2 or len(embeddings) != 2 * len(is_same):
        raise ValueError(f"expected embeddings [2 * pairs, dim] for {len(is_same)} pairs, got {embeddings.shape}")
    if metric not in METRICS:
        raise ValueError(f"metric {metric}: expected {SQUARED_EUCLIDEAN} (squared Euclidean) or {ANGLE} (angle)")
    folds = fold_slices(is_same, num_folds)
    distances = pair_distances(embeddings, metric)
    curves, accuracies, vals = [], [], []
    for fold, fold_distances in zip(folds, _distances_by_fold(embeddings, distances, folds, metric, subtract_mean)):
        test = SortedPairs.of(fold_distances[fold], is_same[fold])
        train = SortedPairs.of(np.delete(fold_distances, fold), np.delete(is_same, fold))
        curves.append(test.rates(THRESHOLDS))
        best = int(np.argmax(train.accuracy(THRESHOLDS)))
        accuracies.append((float(test.accuracy(THRESHOLDS)[best]), THRESHOLDS[best]))
        threshold = _threshold_at_far(train.rates(FINE_THRESHOLDS)[1], far_target)
        vals.append((*test.rates(np.array([threshold])).ravel(), threshold))
    true_positive, false_positive = np.mean(curves, axis=0)
    accuracy, accuracy_thresholds = np.transpose(accuracies)
    val, far, val_thresholds = np.transpose(vals)
    return Verification(THRESHOLDS, true_positive, false_positive, accuracy, accuracy_thresholds, val, far,
                        val_thresholds, equal_error_rate(roc(distances, is_same)), distances)


def pair_distances(embeddings: np.ndarray, metric: int = SQUARED_EUCLIDEAN) -> np.ndarray:
    """Return the distance of each pair, float64 [pairs], for embeddings float [2 * pairs, dim]."""
    return row_distances(embeddings[0::2], embeddings[1::2], metric)


def row_distances(first: np.ndarray, second: np.ndarray, metric: int = SQUARED_EUCLIDEAN) -> np.ndarray:
    """Return the distance of each row to the same row of another array, float64 [rows], both float [rows, dim]."""
    if metric == ANGLE:
        dots, squares = _products(first, second)
        return _angle(dots, squares[0] * squares[1])
    distances = np.empty(len(first))
    for begin in range(0, len(first), _ROWS_PER_CHUNK):
        rows = slice(begin, begin + _ROWS_PER_CHUNK)
        difference = np.subtract(first[rows], second[rows], dtype=np.float64)
        np.einsum("ij,ij->i", difference, difference, out=distances[rows])
    return distances


def fold_slices(is_same: np.ndarray, num_folds: int) -> list[slice]:
    """Divide pairs into contiguous test folds; ValueError if one has no same or no different pair."""
    if not 2 <= num_folds <= len(is_same):
        raise ValueError(f"{num_folds} folds of {len(is_same)} pairs; expected 2 to {len(is_same)}")
    bounds = np.cumsum([0, *map(len, np.array_split(is_same, num_folds))]).tolist()
    folds = [slice(begin, end) for begin, end in zip(bounds, bounds[1:])]
    for fold_number, fold in enumerate(folds, 1):
        if is_same[fold].all() or not is_same[fold].any():
            kind = "same" if is_same[fold].all() else "different"
            raise ValueError(f"fold {fold_number} of {num_folds} has only {kind} pairs")
    return folds


class Thresholds(NamedTuple):
    """Thresholds that a pair can be judged by, measured on all pairs."""

    best_accuracy: float
    at_far: float  # accepts a fraction `far` of the different pairs
    far: float
    num_different: int  # different pairs

    @property
    def resolves_far(self) -> bool:
        """Whether there are enough different pairs for one of them to be accepted at `far`."""
        return self.far * self.num_different >= 1.0

    @property
    def chosen_by(self) -> str:
        """Which threshold to trust: "far", or "accuracy" where too few pairs resolve it."""
        return "far" if self.resolves_far else "accuracy"

    @property
    def chosen(self) -> float:
        """The threshold to trust."""
        return self.at_far if self.resolves_far else self.best_accuracy


def measure_thresholds(distances: np.ndarray, is_same: np.ndarray, far: float = FAR_TARGET) -> Thresholds:
    """Measure both thresholds on all pairs."""
    best = int(np.argmax(SortedPairs.of(distances, is_same).accuracy(THRESHOLDS)))
    return Thresholds(float(THRESHOLDS[best]), threshold_at_far(distances, is_same, far), far, int((~is_same).sum()))


def threshold_at_far(distances: np.ndarray, is_same: np.ndarray, far_target: float) -> float:
    """Return the threshold that accepts a fraction `far_target` of the different pairs; 0 if too many are at 0."""
    return _threshold_at_far(SortedPairs.of(distances, is_same).rates(FINE_THRESHOLDS)[1], far_target)


def _threshold_at_far(fars: np.ndarray, far_target: float) -> float:
    """Interpolate after the last of FINE_THRESHOLDS whose FAR does not exceed the target; 0 if no FAR reaches it."""
    if fars.max() < far_target:
        return 0.0
    last = int(np.searchsorted(fars, far_target, side="right")) - 1
    if last < 0:
        return 0.0
    if last + 1 == len(fars):
        return float(FINE_THRESHOLDS[last])
    step = (far_target - fars[last]) / (fars[last + 1] - fars[last])
    return float(FINE_THRESHOLDS[last] + step * (FINE_THRESHOLDS[last + 1] - FINE_THRESHOLDS[last]))


def _products(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the inner products of the pairs [pairs], and the squared lengths [2, pairs]."""
    first, second = first.astype(np.float64), second.astype(np.float64)
    dots = np.einsum("ij,ij->i", first, second)
    return dots, np.stack([np.einsum("ij,ij->i", rows, rows) for rows in (first, second)])


def _angle(dots: np.ndarray, products_of_squares: np.ndarray) -> np.ndarray:
    """Return arccos of the cosine, divided by pi. A row of zeros is orthogonal to all; rounding may exceed cosine 1."""
    lengths = np.sqrt(np.maximum(products_of_squares, 0.0))
    cosines = np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0.0)
    return np.arccos(np.clip(cosines, -1.0, 1.0)) / np.pi


def _distances_by_fold(embeddings: np.ndarray, distances: np.ndarray, folds: list[slice], metric: int,
                       subtract_mean: bool) -> list[np.ndarray]:
    """Return the distances of all pairs with the mean of each fold subtracted, which Euclidean ones ignore."""
    if metric == SQUARED_EUCLIDEAN or not subtract_mean:
        return [distances] * len(folds)
    first, second = embeddings[0::2].astype(np.float64), embeddings[1::2].astype(np.float64)
    by_fold = []
    for fold in folds:
        train = np.delete(np.arange(len(first)), fold)
        mean = (first[train].mean(axis=0) + second[train].mean(axis=0)) / 2.0
        dots, squares = _products(first - mean, second - mean)
        by_fold.append(_angle(dots, squares[0] * squares[1]))
    return by_fold
