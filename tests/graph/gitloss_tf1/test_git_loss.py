"""The loss against loops over pairs, values worked by hand, and finite differences."""
from __future__ import annotations

import numpy as np
import pytest

from common.graph.compat import tf
from gitloss_tf1 import git_loss
from gitloss_tf1.recipe import LossSettings, Switches

pytestmark = pytest.mark.usefixtures("new_graph")


def evaluate(*tensors):
    with tf.Session() as session:
        return session.run(tensors)


def batch(size=7, classes=4, dim=2, seed=0):
    random = np.random.RandomState(seed)
    return (random.randn(size, dim).astype(np.float32), random.randint(0, classes, size),
            random.randn(classes, dim).astype(np.float32), random.randn(size, classes).astype(np.float32))


def settings(form="element", lambda_c=1.0, lambda_g=1.0):
    return LossSettings(7, lambda_c, lambda_g, Switches(form, form))


def loop_pair_term(features, labels, centers, form):
    """Over all ordered pairs, as the docstring of git_loss writes it."""
    size, dim = features.shape
    total = 0.0
    for i in range(size):
        for j in range(size):
            difference = features[i].astype(np.float64) - centers[labels[j]]
            if form == "sample":
                total += 0.0 if i == j else 1.0 / (1.0 + (difference ** 2).sum())
            else:
                total += sum(1.0 / (1.0 + (0.0 if i == j else d) ** 2) for d in difference)
    return total / (size * size * dim) if form == "element" else total / max(size * (size - 1), 1)


def loop_center_term(features, labels, centers, form):
    squares = [((f.astype(np.float64) - centers[y]) ** 2).sum() for f, y in zip(features, labels)]
    return np.mean(squares) / features.shape[1] if form == "element" else 0.5 * np.mean(squares)


@pytest.mark.parametrize("form", ["element", "sample"])
@pytest.mark.parametrize("size, classes, dim", [(7, 4, 2), (1, 3, 2), (6, 1, 2), (5, 9, 3)])
def test_terms_against_loops(form, size, classes, dim):
    features, labels, centers, _ = batch(size, classes, dim)
    pair, center = evaluate(git_loss.pair_term(features_t(features), labels_t(labels), tf.constant(centers), form),
                            git_loss.center_term(features_t(features), labels_t(labels), tf.constant(centers), form))
    assert pair == pytest.approx(loop_pair_term(features, labels, centers, form), rel=1e-5, abs=1e-7)
    assert center == pytest.approx(loop_center_term(features, labels, centers, form), rel=1e-5)


def features_t(values):
    return tf.constant(values, tf.float32)


def labels_t(values):
    return tf.constant(values, tf.int64)


def test_values_worked_by_hand():
    """Features (0,0), (2,1) of classes 0, 1 with centers (0,0), (1,1)."""
    features, labels, centers = features_t([[0, 0], [2, 1]]), labels_t([0, 1]), features_t([[0, 0], [1, 1]])
    found = evaluate(git_loss.center_term(features, labels, centers, "element"),
                     git_loss.center_term(features, labels, centers, "sample"),
                     git_loss.pair_term(features, labels, centers, "element"),
                     git_loss.pair_term(features, labels, centers, "sample"))
    # squares to own centers: (0,0), (1,0); differences to the other's: (-1,-1), (2,1)
    element_pair = ((1 / 2 + 1 / 2) + (1 / 5 + 1 / 2) + 2 + 2) / 8
    assert found == pytest.approx([1 / 4, 1 / 4, element_pair, (1 / 3 + 1 / 6) / 2])


@pytest.mark.parametrize("form", ["element", "sample"])
def test_total_is_the_weighted_sum_and_lambda_g_zero_is_center_loss(form):
    features, labels, centers, logits = batch()
    loss = git_loss.git_loss(features_t(features), tf.constant(logits), labels_t(labels), tf.constant(centers),
                             settings(form, 0.5, 0.0))
    found = evaluate(loss)[0]
    shifted = logits - logits.max(1, keepdims=True)
    softmax = np.mean(np.log(np.exp(shifted).sum(1)) - shifted[np.arange(7), labels])
    assert found.softmax == pytest.approx(softmax, rel=1e-5)
    assert found.git == pytest.approx(0.5 * found.center, rel=1e-6)
    assert found.total == pytest.approx(found.softmax + found.git, rel=1e-6)


@pytest.mark.parametrize("form", ["element", "sample"])
def test_gradient_against_finite_differences(form):
    features, labels, centers, logits = batch()
    place = tf.placeholder(tf.float32, features.shape)
    loss = git_loss.git_loss(place, tf.constant(logits), labels_t(labels), tf.constant(centers),
                             settings(form, 0.3, 0.7))
    (gradient,) = tf.gradients(loss.git, place)
    with tf.Session() as session:
        found = session.run(gradient, {place: features})

    def value(moved):
        return (0.3 * loop_center_term(moved, labels, centers, form)
                + 0.7 * loop_pair_term(moved, labels, centers, form))

    for i, k in np.ndindex(*features.shape):
        step = np.zeros(features.shape)
        step[i, k] = 1e-5
        difference = (value(features + step) - value(features - step)) / 2e-5
        assert found[i, k] == pytest.approx(difference, rel=1e-3, abs=1e-5)


def test_no_gradient_reaches_the_centers():
    features, labels, centers, logits = batch()
    variable = tf.get_variable("c", initializer=centers)
    loss = git_loss.git_loss(features_t(features), tf.constant(logits), labels_t(labels), variable.read_value(),
                             settings())
    assert tf.gradients(loss.total, variable) == [None]


@pytest.mark.parametrize("form", ["element", "sample"])
def test_far_features_stay_finite(form):
    features, labels, centers, logits = batch()
    far = features_t(features * 1e15)
    loss = git_loss.git_loss(far, tf.constant(logits * 1e3), labels_t(labels), tf.constant(centers), settings(form))
    (gradient,) = tf.gradients(loss.total, far)
    values, slopes = evaluate(loss, gradient)
    assert np.isfinite(values).all() and np.isfinite(slopes).all()


def test_centers_move_by_class_and_from_their_old_place():
    """One class twice, one once, one not at all: c += 0.5 * sum(f - c) / (1 + n)."""
    centers = np.array([[1.0, 0.0], [0.0, 2.0], [5.0, 5.0]], np.float32)
    features = np.array([[3.0, 1.0], [2.0, 2.0], [1.0, 1.0]], np.float32)
    labels = np.array([0, 1, 0])
    variable = tf.get_variable("c", initializer=centers)
    update = git_loss.update_centers(variable, variable.read_value(), features_t(features), labels_t(labels))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(update)
        found = session.run(variable)
    wanted = centers + 0.5 * np.array([[(2 + 0) / 3, (1 + 1) / 3], [2 / 2, 0 / 2], [0, 0]])
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="expected features .batch, dim. and centers"):
        git_loss.git_loss(features_t(np.zeros((3, 2))), features_t(np.zeros((3, 4))), labels_t([0, 0, 0]),
                          features_t(np.zeros((4, 3))), settings())
