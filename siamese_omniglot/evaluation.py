"""Evaluation on pairs."""
from __future__ import annotations

from typing import Any, Callable

import numpy as np

from common import console
from common.data.batching import full_batches
from common.evaluation import roc
from common.keras.session import tf
from siamese_omniglot.data.omniglot import DrawingStore, Pairs
from siamese_omniglot.nets import siamese

BATCH_IMAGES = 64
BATCH_PAIRS = 2048


class Scorer:
    """Computes features once per drawing, and logits of pairs from them."""

    def __init__(self, network: siamese.Siamese):
        self._features = tf.function(network.features)
        self._similarity = tf.function(network.similarity)

    def features(self, drawings: Callable[[np.ndarray], np.ndarray], num: int, check: Callable[[], None]
                 ) -> np.ndarray:
        """Compute features, float32 [num, dim], of drawings, returned for indices as uint8 [len(indices), 105, 105].

        `check` is called before every batch and may raise to stop.
        """
        parts = []
        for rows in console.progress(full_batches(num, BATCH_IMAGES), "features", "batch"):
            check()
            parts.append(self._features(tf.constant(drawings(rows))).numpy())
        return np.concatenate(parts)[:num]

    def logits(self, features: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Compute logits, float32 [num], of pairs of rows, int [num] each, of features, float32 [drawings, dim]."""
        parts = [self._similarity(tf.constant(features[first[rows]]), tf.constant(features[second[rows]])).numpy()
                 for rows in full_batches(len(first), BATCH_PAIRS)]
        return np.concatenate(parts)[:len(first)]


def pair_logits(scorer: Scorer, store: DrawingStore, pairs: Pairs, check: Callable[[], None]) -> np.ndarray:
    """Return logits of pairs, float32 [num]. Every drawing passes through the tower once."""
    drawings, rows = np.unique(np.concatenate([pairs.first, pairs.second]), return_inverse=True)
    features = scorer.features(lambda batch: store.take(drawings[batch]), len(drawings), check)
    return scorer.logits(features, *np.split(rows.reshape(-1), 2))


def pair_result(logits: np.ndarray, labels: np.ndarray, head: str) -> dict[str, Any]:
    """Summarise logits of pairs, float32 [num], with labels, float32 [num], 1 for pairs of one character.

    The accuracy is the share of pairs on the correct side of probability 0.5; `accuracy_error` is its standard error.
    """
    loss = float(np.mean(siamese.pair_losses(tf.constant(logits), tf.constant(labels), head).numpy()))
    accuracy = float(np.mean(siamese.are_right(tf.constant(logits), tf.constant(labels)).numpy()))
    curve = roc.roc(-logits, labels > 0.5)
    return dict(loss=loss, accuracy=accuracy, accuracy_error=float(np.sqrt(accuracy * (1 - accuracy) / len(labels))),
                eer=roc.equal_error_rate(curve), auc=roc.area(curve), num_pairs=len(labels))
