"""N-way K-shot classification: which of N classes is a query of, K examples of each being given. No TensorFlow.

As in Vinyals et al. 2016 (arXiv 1606.04080, section 4.1) and, with the runs that are published with Omniglot, Lake et
al. 2015 ("Human-level concept learning through probabilistic program induction").
"""
from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

_NORMAL_95 = 1.959963984540054  # quantile of the normal distribution: 95 % lie within so many standard errors


class Episode(NamedTuple):
    """One task."""

    support: np.ndarray  # int64 [n_way, k_shot], numbers of the examples
    query: np.ndarray  # int64 [n_way], one query of each class, in the classes' order


class Estimate(NamedTuple):
    """A mean with its 95 % confidence interval, mean +- half_width."""

    mean: float
    half_width: float
    num: int


def classes_for(labels: np.ndarray, k_shot: int) -> np.ndarray:
    """Classes that have enough samples for k examples and a query, int64.

    Args:
        labels: int [num], the class of each sample.
        k_shot: examples.
    """
    classes, counts = np.unique(labels, return_counts=True)
    return classes[counts > k_shot]


def draw_episode(labels: np.ndarray, n_way: int, k_shot: int, random: np.random.RandomState) -> Episode:
    """Draw classes, and of each k examples and another sample as query.

    Raises:
        ValueError: fewer than n_way classes have enough samples.
    """
    usable = classes_for(labels, k_shot)
    if len(usable) < n_way:
        raise ValueError(f"{n_way}-way {k_shot}-shot: only {len(usable)} classes have {k_shot + 1} samples")
    drawn = [random.permutation(np.flatnonzero(labels == label))[:k_shot + 1]
             for label in random.permutation(usable)[:n_way]]
    return Episode(np.stack([samples[1:] for samples in drawn]), np.array([samples[0] for samples in drawn]))


def accuracy(similarities: np.ndarray, answers: np.ndarray) -> float:
    """Share of queries whose class is the most similar one.

    Args:
        similarities: float [queries, n_way, k_shot], bigger means more alike; a class is as similar as its examples are
            in the mean.
        answers: int [queries], the right class.

    Returns:
        From 0 to 1; classes that are equally similar share the point, so a network that says the same of all pairs gets
        1 / n_way.
    """
    of_class = similarities.mean(axis=2)
    is_best = of_class == of_class.max(axis=1, keepdims=True)
    return float(np.mean(is_best[np.arange(len(answers)), answers] / is_best.sum(axis=1)))


def estimate(values: np.ndarray) -> Estimate:
    """Mean of independent results, with its confidence interval; of a single one the width is not known (NaN)."""
    values = np.asarray(values, np.float64)
    width = _NORMAL_95 * values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Estimate(float(values.mean()), float(width), len(values))
