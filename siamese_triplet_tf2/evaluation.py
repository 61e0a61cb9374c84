"""Evaluation: triplet loss and accuracy, and retrieval of the right image for a left one."""
from __future__ import annotations

from typing import Any, Callable

import numpy as np

from common import console
from common.data.batching import full_batches
from common.keras.session import tf
from siamese_triplet_tf2 import triplet_loss
from siamese_triplet_tf2.features import BATCH_SIZE
from siamese_triplet_tf2.pairs import Triplets

RECALL_AT = (1, 5, 10)


def compiled(tail: tf.keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """Compile the trainable part of the network for `embed`."""
    return tf.function(lambda kept: tf.cast(tail(kept, training=False), tf.float32))


def embed(tail: Callable[[tf.Tensor], tf.Tensor], features: Callable[[np.ndarray], np.ndarray],
          indices: np.ndarray, check: Callable[[], None] = lambda: None) -> np.ndarray:
    """Embed images by their indices, int64 [num]: float32 [num, 256]. `tail` computes embeddings from features.

    `check` is called before every batch and may raise to stop.
    """
    embeddings = []
    for rows in console.progress(full_batches(len(indices), BATCH_SIZE), "embeddings", "batch"):
        check()
        embeddings.append(tail(tf.constant(features(indices[rows]))).numpy())
    return np.concatenate(embeddings)[:len(indices)]


def images_needed(triplets: Triplets, pairs: np.ndarray, num_pairs: int) -> np.ndarray:
    """Return the indices of the images whose embeddings `measure` needs, int64 [num], ascending."""
    return np.unique(np.concatenate([triplets.images(), pairs, pairs + num_pairs]))


def measure(indices: np.ndarray, embeddings: np.ndarray, triplets: Triplets, pairs: np.ndarray, num_pairs: int
            ) -> dict[str, Any]:
    """Compute valid_loss and triplet_accuracy of validation triplets, and `retrieval_metrics` of validation pairs.

    Args:
        indices: int64 [num], indices of the embedded images, ascending.
        embeddings: float32 [num, 256].
        triplets: the triplets.
        pairs: int64 [num_validation], indices of the pairs.
        num_pairs: number of all pairs; the index of the right image of pair i is num_pairs + i.
    """

    def of(images: np.ndarray) -> np.ndarray:
        return embeddings[np.searchsorted(indices, images)]

    measured = triplet_loss.distances(*(tf.constant(of(images)) for images in
                                        (triplets.anchor, triplets.positive, triplets.negative)))
    loss = triplet_loss.triplet_loss(measured)
    return dict(valid_loss=float(tf.reduce_mean(loss)),
                triplet_accuracy=float(np.mean(measured.positive.numpy() < measured.negative.numpy())),
                **retrieval_metrics(of(pairs), of(pairs + num_pairs)))


def similarities(left: np.ndarray, right: np.ndarray, metric: str) -> np.ndarray:
    """Return the similarity of each left and each right embedding [num, dim], float64 [num_left, num_right].

    The metric is "cosine", in [-1, 1], or "l2", the negative squared distance.
    """
    left, right = left.astype(np.float64), right.astype(np.float64)
    if metric == "cosine":
        return _unit(left) @ _unit(right).T
    return 2.0 * left @ right.T - np.square(left).sum(1)[:, None] - np.square(right).sum(1)[None, :]


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def ranks(similarity: np.ndarray) -> np.ndarray:
    """Return the rank of the partner of each left image among all right ones, int64 [num]; 1 is best.

    Right image i is the partner of left image i. Ties count as more similar, so with constant embeddings all rank last.
    """
    own = np.diagonal(similarity)[:, None]
    return (similarity >= own).sum(axis=1)


def retrieval_metrics(left: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """Return recall and median rank of right[i] for left[i], float32 [num, dim] each, for both metrics."""
    metrics: dict[str, Any] = {}
    cosine, l2 = (similarities(left, right, metric) for metric in ("cosine", "l2"))
    for metric, similarity in (("cosine", cosine), ("l2", l2)):
        own_ranks = ranks(similarity)
        metrics.update((f"{metric}_recall_at_{count}", float(np.mean(own_ranks <= count))) for count in RECALL_AT)
        metrics[f"{metric}_median_rank"] = float(np.median(own_ranks))
    metrics["positive_similarity"] = float(np.diagonal(cosine).mean())
    others = ~np.eye(len(cosine), dtype=bool)
    metrics["negative_similarity"] = float(cosine[others].mean()) if others.any() else float("nan")
    return metrics
