"""Circle loss against loops of numpy, finite differences, and at the edges."""
from __future__ import annotations

import math

import numpy as np
import pytest

from circleloss_tf1 import circle_loss
from common.graph.compat import enable, tf

enable()


def z_positive(s, gamma, margin):
    return gamma * max(1 + margin - s, 0.0) * (s - (1 - margin))


def z_negative(s, gamma, margin):
    return gamma * max(s + margin, 0.0) * (s - margin)


def unified(positives, negatives, gamma, margin):
    """Eq. 6 with exact exponentials in the largest float numpy has; 0 for an empty set."""
    if not positives or not negatives:
        return 0.0
    high = np.longdouble
    up = sum(np.exp(high(z_negative(s, gamma, margin))) for s in negatives)
    down = sum(np.exp(high(-z_positive(s, gamma, margin))) for s in positives)
    return float(np.log1p(up * down))


def class_loss(rows, labels, gamma, margin):
    return float(np.mean([unified([row[label]], [s for k, s in enumerate(row) if k != label], gamma, margin)
                          for row, label in zip(rows, labels)]))


def run(loss, inputs, labels, gamma=256.0, margin=0.25, dtype=np.float32):
    """The loss and its gradient in float64, or in another dtype."""
    with tf.Graph().as_default(), tf.Session() as session:
        tensor = tf.constant(np.asarray(inputs, dtype))
        value = loss(tensor, tf.constant(np.asarray(labels, np.int32)), gamma, margin)
        return session.run([value, tf.gradients(value, tensor)[0]])


def cosines(batch=7, classes=11, seed=0, scale=1.0):
    random = np.random.RandomState(seed)
    return scale * np.tanh(random.randn(batch, classes)), random.randint(0, classes, batch)


@pytest.mark.parametrize("gamma", [256.0, 64.0, 1.0])
@pytest.mark.parametrize("margin", [0.25, 0.4])
def test_loss_against_loops(gamma, margin):
    rows, labels = cosines()
    rows = rows.astype(np.float32)
    found, _ = run(circle_loss.circle_loss, rows, labels, gamma, margin)
    assert found == pytest.approx(class_loss(rows.astype(float), labels, gamma, margin), rel=1e-5)


def test_hand_worked():
    """One sample, two classes, gamma 1, m 0.25: z_p = (1.25 - 0.5)(0.5 - 0.75), z_n = (0.5 + 0.25)(0.5 - 0.25)."""
    found, _ = run(circle_loss.circle_loss, [[0.5, 0.5]], [0], 1.0)
    assert found == pytest.approx(math.log(1 + math.exp(0.1875 + 0.1875)), rel=1e-6)


def test_gradient_against_finite_differences():
    """Alphas are constants to the gradient, so the difference is taken of a loss with alphas held still."""
    rows, labels = cosines(4, 5)
    gamma, margin, epsilon = 8.0, 0.25, 1e-6

    def held(positives, positives_before, negatives, negatives_before):
        p = [gamma * max(1 + margin - b, 0) * (s - (1 - margin)) for s, b in zip(positives, positives_before)]
        n = [gamma * max(b + margin, 0) * (s - margin) for s, b in zip(negatives, negatives_before)]
        return math.log1p(sum(math.exp(z) for z in n) * sum(math.exp(-z) for z in p))

    def value(moved):
        return np.mean([held([row[label]], [base[label]], np.delete(row, label), np.delete(base, label))
                        for row, base, label in zip(moved, rows, labels)])

    _, gradient = run(circle_loss.circle_loss, rows, labels, gamma, margin)
    for place in np.ndindex(*rows.shape):
        up, down = rows.copy(), rows.copy()
        up[place] += epsilon
        down[place] -= epsilon
        assert gradient[place] == pytest.approx((value(up) - value(down)) / (2 * epsilon), abs=2e-4)


def test_the_loss_is_the_mean_of_those_of_the_samples():
    rows, labels = cosines()
    each, _ = run(circle_loss.sample_losses, rows, labels)
    assert each == pytest.approx([class_loss([row], [label], 256.0, 0.25) for row, label in zip(rows, labels)])
    assert run(circle_loss.circle_loss, rows, labels)[0] == pytest.approx(each.mean(), rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("rows, labels", [
    ([[1.0, 1.0, -1.0]], [0]), ([[-1.0, 1.0, 1.0]], [0]), ([[1.0, -1.0]], [0]), ([[0.3]], [0]),
    ([[-1.0] * 4] * 3, [0, 1, 2]), ([[1.0] * 4] * 3, [0, 0, 0]), ([[0.0] * 4], [3]), ([[1.25, -0.25]], [0]),
], ids=str)
def test_loss_is_finite_at_gamma_256(dtype, rows, labels):
    found, gradient = run(circle_loss.circle_loss, rows, labels, dtype=dtype)
    assert found.dtype == np.float32 and np.isfinite(found) and np.isfinite(gradient).all() and found >= 0
    assert found == pytest.approx(class_loss(np.array(rows), labels, 256.0, 0.25), rel=1e-3, abs=1e-6)


def test_no_one_hot_matrix_is_made():
    """With C classes no op but those on [B, C] similarities has so many elements, and none is a OneHot."""
    with tf.Graph().as_default() as graph:
        similarities = tf.placeholder(tf.float32, [4, 1000])
        loss = circle_loss.circle_loss(similarities, tf.placeholder(tf.int32, [4]))
        tf.gradients(loss, similarities)
        assert not [op for op in graph.get_operations() if op.type in ("OneHot", "Equal")]


def test_wrong_ranks_are_refused():
    with tf.Graph().as_default():
        with pytest.raises(ValueError, match="expected"):
            circle_loss.circle_loss(tf.zeros([3]), tf.zeros([3], tf.int32))
        with pytest.raises(ValueError, match="expected"):
            circle_loss.circle_loss(tf.zeros([3, 2]), tf.zeros([3, 2], tf.int32))
