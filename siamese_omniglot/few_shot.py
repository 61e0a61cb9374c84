"""Evaluation on few-shot classification: random episodes and Omniglot's official runs."""
from __future__ import annotations

from typing import Callable, NamedTuple, Sequence

import numpy as np

from common import console
from common.evaluation import one_shot
from siamese_omniglot.data.one_shot_runs import OneShotRun
from siamese_omniglot.data.pairs import EPISODES
from siamese_omniglot.evaluation import Scorer


class Task(NamedTuple):
    """Episodes to draw: n_way characters with k_shot examples and one query each."""

    n_way: int
    k_shot: int
    num_episodes: int
    seed: int


def episode_accuracies(scorer: Scorer, features: np.ndarray, labels: np.ndarray, task: Task,
                       check: Callable[[], None]) -> np.ndarray:
    """Return the accuracy of every episode, float64 [episodes].

    Args:
        scorer: the network.
        features: float32 [num, dim], features of the drawings.
        labels: int [num], characters of the drawings.
        task: the episodes.
        check: called before every episode; may raise to stop.
    """
    accuracies = []
    for number in console.progress(range(task.num_episodes), "episodes", "episode"):
        check()
        random = np.random.RandomState([task.seed, EPISODES, task.n_way, task.k_shot, number])
        episode = one_shot.draw_episode(labels, task.n_way, task.k_shot, random)
        queries, examples = np.broadcast_arrays(episode.query[:, None, None], episode.support[None])
        logits = scorer.logits(features, queries.reshape(-1), examples.reshape(-1)).reshape(queries.shape)
        accuracies.append(one_shot.accuracy(logits, np.arange(task.n_way)))
    return np.array(accuracies)


def run_error_rates(scorer: Scorer, runs: Sequence[OneShotRun], check: Callable[[], None]) -> dict[str, float]:
    """Return the error rate of every official one-shot run, by name."""
    rates = {}
    for run in runs:
        drawings = np.concatenate([run.queries, run.classes])
        features = scorer.features(drawings.__getitem__, len(drawings), check)
        num_queries, num_classes = len(run.queries), len(run.classes)
        first, second = np.repeat(np.arange(num_queries), num_classes), np.tile(np.arange(num_classes), num_queries)
        logits = scorer.logits(features, first, num_queries + second).reshape(num_queries, num_classes, 1)
        rates[run.name] = 1.0 - one_shot.accuracy(logits, run.answers)
    return rates
