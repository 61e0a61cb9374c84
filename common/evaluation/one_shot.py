"""N-way K-shot classification: find the class of a query among N classes with K examples each.

As in Vinyals et al. 2016 (arXiv 1606.04080, section 4.1) and, with the runs published with Omniglot, Lake et al. 2015
("Human-level concept learning through probabilistic program induction").
"""
from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

_NORMAL_95 = 1.959963984540054  # 0.975 quantile of the normal distribution


class Episode(NamedTuple):
    """One task."""

    support: np.ndarray  # int64 [n_way, k_shot], indices of the examples
    query: np.ndarray  # int64 [n_way], index of one query per class


class Estimate(NamedTuple):
    """A mean with its 95 % confidence interval, mean +- half_width."""

    mean: float
    half_width: float
    num: int


def classes_for(labels: np.ndarray, k_shot: int) -> np.ndarray:
    """Return the classes, int64, with enough samples for k examples and a query; `labels` is int [samples]."""
    classes, counts = np.unique(labels, return_counts=True)
    return classes[counts > k_shot]


def draw_episode(labels: np.ndarray, n_way: int, k_shot: int, random: np.random.RandomState) -> Episode:
    """Draw classes, and k examples and a query of each, from labels, int [samples]; ValueError for too few."""
    usable = classes_for(labels, k_shot)
    if len(usable) < n_way:
        raise ValueError(f"{n_way}-way {k_shot}-shot: only {len(usable)} classes have {k_shot + 1} samples")
    drawn = [random.permutation(np.flatnonzero(labels == label))[:k_shot + 1]
             for label in random.permutation(usable)[:n_way]]
    return Episode(np.stack([samples[1:] for samples in drawn]), np.array([samples[0] for samples in drawn]))


def accuracy(similarities: np.ndarray, answers: np.ndarray) -> float:
    """Return the fraction of queries, in [0, 1], whose true class is the most similar one.

    `similarities` are float [queries, n_way, k_shot], larger means more similar; a class takes the mean over its
    examples. A tie of n classes counts 1 / n, so constant similarities give 1 / n_way. `answers` are int [queries].
    """
    by_class = similarities.mean(axis=2)
    is_best = by_class == by_class.max(axis=1, keepdims=True)
    return float(np.mean(is_best[np.arange(len(answers)), answers] / is_best.sum(axis=1)))


def estimate(values: np.ndarray) -> Estimate:
    """Return the mean of independent results with its confidence interval, whose width is NaN for a single result."""
    values = np.asarray(values, np.float64)
    width = _NORMAL_95 * values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Estimate(float(values.mean()), float(width), len(values))
