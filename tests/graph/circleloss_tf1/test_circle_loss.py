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


def pair_loss(embeddings, labels, gamma, margin):
    positives, negatives = [], []
    for i in range(len(labels)):
        for j in range(i + 1, len(labels)):
            (positives if labels[i] == labels[j] else negatives).append(float(np.dot(embeddings[i], embeddings[j])))
    return unified(positives, negatives, gamma, margin)


def run(loss, inputs, labels, gamma=256.0, margin=0.25, dtype=np.float32):
    """The loss and its gradient in float64, or in another dtype."""
    with tf.Graph().as_default(), tf.Session() as session:
        tensor = tf.constant(np.asarray(inputs, dtype))
        value = loss(tensor, tf.constant(np.asarray(labels, np.int32)), gamma, margin)
        return session.run([value, tf.gradients(value, tensor)[0]])


def cosines(batch=7, classes=11, seed=0, scale=1.0):
    random = np.random.RandomState(seed)
    return scale * np.tanh(random.randn(batch, classes)), random.randint(0, classes, batch)


def embeddings(batch=8, dim=4, classes=3, seed=0):
    random = np.random.RandomState(seed)
    rows = random.randn(batch, dim)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), random.randint(0, classes, batch)


@pytest.mark.parametrize("gamma", [256.0, 64.0, 1.0])
@pytest.mark.parametrize("margin", [0.25, 0.4])
def test_class_form_against_loops(gamma, margin):
    rows, labels = cosines()
    rows = rows.astype(np.float32)
    found, _ = run(circle_loss.circle_loss, rows, labels, gamma, margin)
    assert found == pytest.approx(class_loss(rows.astype(float), labels, gamma, margin), rel=1e-5)


@pytest.mark.parametrize("gamma", [256.0, 64.0, 1.0])
def test_pair_form_against_loops(gamma):
    rows, labels = embeddings()
    found, _ = run(circle_loss.pair_circle_loss, rows, labels, gamma)
    assert found == pytest.approx(pair_loss(rows.astype(np.float32).astype(float), labels, gamma, 0.25), rel=1e-5)


def test_hand_worked():
    """One sample, two classes, gamma 1, m 0.25: z_p = (1.25 - 0.5)(0.5 - 0.75), z_n = (0.5 + 0.25)(0.5 - 0.25)."""
    found, _ = run(circle_loss.circle_loss, [[0.5, 0.5]], [0], 1.0)
    assert found == pytest.approx(math.log(1 + math.exp(0.1875 + 0.1875)), rel=1e-6)


@pytest.mark.parametrize("form", ["class", "pair"])
def test_gradient_against_finite_differences(form):
    """Alphas are constants to the gradient, so the difference is taken of a loss with alphas held still."""
    if form == "class":
        rows, labels = cosines(4, 5)
        loss = circle_loss.circle_loss

        def value(moved):
            return np.mean([held([row[label]], [base[label]], np.delete(row, label), np.delete(base, label))
                            for row, base, label in zip(moved, rows, labels)])
    else:
        rows, labels = embeddings(5, 3, 2)
        loss = circle_loss.pair_circle_loss
        first, second = np.triu_indices(5, 1)
        same = labels[first] == labels[second]

        def value(moved):
            s, base = (np.einsum("ij,ij->i", part[first], part[second]) for part in (moved, rows))
            return held(s[same], base[same], s[~same], base[~same])

    gamma, margin, epsilon = 8.0, 0.25, 1e-6

    def held(positives, positives_before, negatives, negatives_before):
        p = [gamma * max(1 + margin - b, 0) * (s - (1 - margin)) for s, b in zip(positives, positives_before)]
        n = [gamma * max(b + margin, 0) * (s - margin) for s, b in zip(negatives, negatives_before)]
        return math.log1p(sum(math.exp(z) for z in n) * sum(math.exp(-z) for z in p))

    _, gradient = run(loss, rows, labels, gamma, margin)
    for place in np.ndindex(*rows.shape):
        up, down = rows.copy(), rows.copy()
        up[place] += epsilon
        down[place] -= epsilon
        assert gradient[place] == pytest.approx((value(up) - value(down)) / (2 * epsilon), abs=2e-4)


def test_class_form_is_the_pair_form_where_there_is_one_positive():
    """An anchor, a sample of its class and others at right angles to each other: pairs without the anchor have
    similarity 0 < -m never, so they are counted too; with their terms the two forms must agree.
    """
    rows, labels = np.eye(4), [0, 0, 1, 2]
    rows[1] = [0.6, 0.8, 0, 0]
    found, _ = run(circle_loss.pair_circle_loss, rows, labels)
    similarities = [rows[i] @ rows[j] for i in range(4) for j in range(i + 1, 4)]  # the first is the positive
    as_classes, _ = run(circle_loss.circle_loss, [similarities], [0])
    assert found == pytest.approx(as_classes, rel=1e-6)


def test_unified_loss_row_by_row_is_the_class_form():
    rows, labels = cosines()
    with tf.Graph().as_default(), tf.Session() as session:
        similarities = tf.constant(rows, tf.float32)
        logits = circle_loss.Logits(circle_loss.positive_logits(similarities, 256.0, 0.25),
                                    circle_loss.negative_logits(similarities, 256.0, 0.25))
        own = tf.constant(np.eye(11, dtype=bool)[labels])
        each = session.run(circle_loss.unified_loss(logits, own, tf.logical_not(own)))
    found, _ = run(circle_loss.circle_loss, rows, labels)
    assert float(each.mean()) == pytest.approx(float(found), rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("rows, labels", [
    ([[1.0, 1.0, -1.0]], [0]), ([[-1.0, 1.0, 1.0]], [0]), ([[1.0, -1.0]], [0]), ([[0.3]], [0]),
    ([[-1.0] * 4] * 3, [0, 1, 2]), ([[1.0] * 4] * 3, [0, 0, 0]), ([[0.0] * 4], [3]), ([[1.25, -0.25]], [0]),
], ids=str)
def test_class_form_is_finite_at_gamma_256(dtype, rows, labels):
    found, gradient = run(circle_loss.circle_loss, rows, labels, dtype=dtype)
    assert found.dtype == np.float32 and np.isfinite(found) and np.isfinite(gradient).all() and found >= 0
    assert found == pytest.approx(class_loss(np.array(rows), labels, 256.0, 0.25), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("rows, labels", [
    ([[1.0, 0.0]], [0]), ([[1.0, 0.0]] * 4, [0] * 4), ([[1.0, 0.0]] * 4, [0, 1, 2, 3]),
    ([[1.0, 0.0]] * 4, [0, 0, 1, 1]),
    ([[1.0, 0.0], [-1.0, 0.0]], [0, 0]), ([[1.0, 0.0], [0.0, 1.0]], [0, 1]), ([[0.0, 0.0]] * 3, [0, 0, 1]),
], ids=str)
def test_pair_form_is_finite_at_gamma_256(dtype, rows, labels):
    found, gradient = run(circle_loss.pair_circle_loss, rows, labels, dtype=dtype)
    assert found.dtype == np.float32 and np.isfinite(found) and np.isfinite(gradient).all()
    wanted = pair_loss(np.array(rows), labels, 256.0, 0.25)
    assert found == pytest.approx(wanted, rel=1e-3, abs=1e-6)
    if wanted == 0.0:
        assert found == 0.0 and not gradient.any()


def test_no_one_hot_matrix_is_made():
    """With C classes no op but those on [B, C] similarities has so many elements, and none is a OneHot."""
    with tf.Graph().as_default() as graph:
        similarities = tf.placeholder(tf.float32, [4, 1000])
        loss = circle_loss.circle_loss(similarities, tf.placeholder(tf.int32, [4]))
        tf.gradients(loss, similarities)
        assert not [op for op in graph.get_operations() if op.type in ("OneHot", "Equal")]


@pytest.mark.parametrize("loss", [circle_loss.circle_loss, circle_loss.pair_circle_loss])
def test_wrong_ranks_are_refused(loss):
    with tf.Graph().as_default():
        with pytest.raises(ValueError, match="expected"):
            loss(tf.zeros([3]), tf.zeros([3], tf.int32))
        with pytest.raises(ValueError, match="expected"):
            loss(tf.zeros([3, 2]), tf.zeros([3, 2], tf.int32))
