"""Recall, ranks and similarities by hand and against loops."""
from __future__ import annotations

import numpy as np
import pytest

from siamese_triplet_tf2 import evaluation


def test_by_hand():
    left = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    right = np.array([[2.0, 0.0], [3.0, 1.0], [0.0, 5.0]])
    # cosines: left 0 finds 1, 0.949, 0; left 1 finds 0, 0.316, 1; left 2 finds 0.707, 0.894, 0.707
    assert evaluation.ranks(evaluation.similarities(left, right, "cosine")).tolist() == [1, 2, 3]
    # squared distances: 1, 5, 26; 5, 9, 16; 2, 4, 17
    assert evaluation.ranks(evaluation.similarities(left, right, "l2")).tolist() == [1, 2, 3]
    found = evaluation.retrieval_metrics(left, right)
    assert found["cosine_recall_at_1"] == pytest.approx(1 / 3) and found["cosine_recall_at_5"] == 1.0
    assert found["l2_median_rank"] == 2.0
    assert found["positive_similarity"] == pytest.approx((1 + 1 / np.sqrt(10) + 1 / np.sqrt(2)) / 3)
    assert found["negative_similarity"] == pytest.approx(
        (3 / np.sqrt(10) + 0 + 0 + 1 + 1 / np.sqrt(2) + 4 / np.sqrt(20)) / 6)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_against_loops(metric):
    random = np.random.RandomState(0)
    left, right = random.randn(20, 6).astype(np.float32), random.randn(20, 6).astype(np.float32)
    found = evaluation.similarities(left, right, metric)
    for i in range(20):
        for j in range(20):
            a, b = left[i].astype(float), right[j].astype(float)
            wanted = a @ b / np.linalg.norm(a) / np.linalg.norm(b) if metric == "cosine" else -((a - b) ** 2).sum()
            assert found[i, j] == pytest.approx(wanted, rel=1e-6, abs=1e-9)
    wanted_ranks = [sorted(-found[i]).index(-found[i, i]) + 1 for i in range(20)]
    assert evaluation.ranks(found).tolist() == wanted_ranks


def test_a_constant_embedding_ranks_last():
    """A network that gives every image the same embedding knows nothing, so it must not look perfect."""
    assert evaluation.retrieval_metrics(np.ones((4, 3)), np.ones((4, 3)))["l2_recall_at_1"] == 0.0


def test_degenerate_sizes():
    found = evaluation.retrieval_metrics(np.zeros((1, 3)), np.zeros((1, 3)))
    assert found["cosine_recall_at_1"] == 1.0 and np.isnan(found["negative_similarity"])
