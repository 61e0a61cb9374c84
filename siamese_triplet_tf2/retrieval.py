"""Metrics of retrieving the right image for a left one."""
from __future__ import annotations

from typing import Any

import numpy as np

RECALL_AT = (1, 5, 10)


def similarities(left: np.ndarray, right: np.ndarray, metric: str) -> np.ndarray:
    """Return the similarity of each left and each right embedding, float64 [num_left, num_right].

    Args:
        left: float32 [num_left, dim].
        right: float32 [num_right, dim].
        metric: "cosine", in [-1, 1], or "l2", the negative squared distance.
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
    """Return recall and median rank of the partner of each left image, for both metrics.

    Args:
        left: float32 [num, dim].
        right: float32 [num, dim]; right[i] is the partner of left[i].
    """
    metrics: dict[str, Any] = {}
    for metric in ("cosine", "l2"):
        similarity = similarities(left, right, metric)
        own_ranks = ranks(similarity)
        for count in RECALL_AT:
            metrics[f"{metric}_recall_at_{count}"] = float(np.mean(own_ranks <= count))
        metrics[f"{metric}_median_rank"] = float(np.median(own_ranks))
    cosine = similarities(left, right, "cosine")
    metrics["positive_similarity"] = float(np.diagonal(cosine).mean())
    others = ~np.eye(len(cosine), dtype=bool)
    metrics["negative_similarity"] = float(cosine[others].mean()) if others.any() else float("nan")
    return metrics
