"""The triplet loss and the choice of negatives against loops in numpy."""
from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from siamese_triplet_tf2 import triplet_loss


def oracle(anchor, positive, negative, margin):
    losses = []
    for a, p, n in zip(anchor, positive, negative):
        near, far = sum((x - y) ** 2 for x, y in zip(a, p)), sum((x - y) ** 2 for x, y in zip(a, n))
        losses.append(max(near - far + margin, 0.0))
    return losses


def loss_of(*towers, margin=triplet_loss.MARGIN):
    return triplet_loss.triplet_loss(triplet_loss.distances(*(tf.constant(tower, tf.float32) for tower in towers)),
                                     margin)


@pytest.mark.parametrize("margin", [0.0, 0.5, 3.0])
def test_against_a_loop(margin):
    towers = np.random.RandomState(0).randn(3, 16, 5)
    np.testing.assert_allclose(loss_of(*towers, margin=margin), oracle(*towers, margin), rtol=1e-5, atol=1e-6)


def test_by_hand():
    """|(1,0)|^2 - |(0,2)|^2 + 0.5 < 0; |(2,0)|^2 - |(0,1)|^2 + 0.5 = 3.5; identical images leave the margin."""
    losses = loss_of([[0, 0], [0, 0], [1, 1]], [[1, 0], [2, 0], [1, 1]], [[0, 2], [0, 1], [1, 1]])
    assert losses.numpy().tolist() == [0.0, 3.5, 0.5]


def test_the_gradient_is_that_of_the_sum():
    towers = np.random.RandomState(1).randn(3, 4, 3)
    towers[2] = towers[0] + 0.1  # near negatives, so that the hinge is active
    anchor = tf.Variable(towers[0], dtype=tf.float64)
    with tf.GradientTape() as tape:
        measured = triplet_loss.distances(anchor, tf.constant(towers[1]), tf.constant(towers[2]))
        total = tf.reduce_sum(triplet_loss.triplet_loss(measured))
    gradient = tape.gradient(total, anchor).numpy()
    for index in np.ndindex(*towers[0].shape):
        shifted = [towers[0].copy() for _ in range(2)]
        for copy, sign in zip(shifted, (1, -1)):
            copy[index] += sign * 1e-6
        plus, minus = (sum(oracle(copy, towers[1], towers[2], 0.5)) for copy in shifted)
        assert gradient[index] == pytest.approx((plus - minus) / 2e-6, rel=1e-4)


def test_large_embeddings_stay_finite():
    towers = 1e15 * np.random.RandomState(2).randn(3, 4, 8)
    assert np.isfinite(loss_of(*towers)).all()


def semi_hard_by_loop(anchor, candidates, positive_distance, excluded):
    chosen = []
    for row, a in enumerate(anchor):
        squared = [float(((a - c) ** 2).sum()) for c in candidates]
        allowed = [k for k in range(len(candidates)) if not excluded[row, k]]
        farther = [k for k in allowed if squared[k] > positive_distance[row]]
        chosen.append(min(farther, key=lambda k: squared[k]) if farther else max(allowed, key=lambda k: squared[k]))
    return chosen


@pytest.mark.parametrize("near", [0.0, 4.0, 1e6])
def test_semi_hard_negatives_against_a_loop(near):
    """`near` is the distance to the positive: all candidates are farther, some, or none."""
    random = np.random.RandomState(3)
    anchor, candidates = random.randn(6, 4).astype(np.float32), random.randn(12, 4).astype(np.float32)
    excluded = np.tile(np.eye(6, dtype=bool), (1, 2))
    distance = np.full(6, near, np.float32)
    found = triplet_loss.semi_hard_negatives(*(tf.constant(x) for x in (anchor, candidates, distance, excluded)))
    assert found.numpy().tolist() == semi_hard_by_loop(anchor, candidates, distance, excluded)
