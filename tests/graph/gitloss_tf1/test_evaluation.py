"""The evaluation's numbers against loops and against the loss's own graph."""
from __future__ import annotations

import numpy as np
import pytest

from common.graph.compat import enable, tf
from gitloss_tf1 import git_loss
from gitloss_tf1.evaluation import class_statistics, set_loss
from gitloss_tf1.recipe import LossSettings, Switches


def loop_statistics(features, labels, batch_size):
    """As the original computes it: class means of each batch, their mean, distances to it."""
    batches = [(features[i:i + batch_size], labels[i:i + batch_size])
               for i in range(0, len(labels) - batch_size + 1, batch_size)]
    centers = []
    for label in range(10):
        means = [f[y == label].astype(np.float64).mean(axis=0) for f, y in batches if (y == label).any()]
        centers.append(np.mean(means, axis=0) if means else [np.nan, np.nan])
    centers = np.array(centers)
    used = np.concatenate([f for f, _ in batches]), np.concatenate([y for _, y in batches])
    present = sorted(set(used[1]))
    intra = [np.mean([np.linalg.norm(f - centers[c]) for f, y in zip(*used) if y == c]) for c in present]
    inter = [np.linalg.norm(centers[a] - centers[b]) for a in present for b in present if a < b]
    return centers, np.array(inter), np.array(intra)


def sample(num, labels, seed=0):
    random = np.random.RandomState(seed)
    return (random.randn(num, 2) * 3).astype(np.float32), random.choice(labels, num)


@pytest.mark.parametrize("num, batch_size, classes", [
    (300, 64, range(10)),  # 44 samples fill no batch
    (300, 8, range(10)),  # batches without some classes
    (90, 30, [1, 4, 7]),  # classes that are never there
    (40, 10, [3]),
])
def test_batch_means_against_loops(num, batch_size, classes):
    features, labels = sample(num, list(classes))
    found = class_statistics(features, labels, batch_size, "batch_means")
    centers, inter, intra = loop_statistics(features, labels, batch_size)
    np.testing.assert_allclose(found.centers, centers, rtol=1e-9)
    np.testing.assert_allclose(found.inter_distances, inter, rtol=1e-9)
    np.testing.assert_allclose(found.intra_distances, intra, rtol=1e-9)
    assert found.inter_distance == pytest.approx(inter.mean() if len(inter) else 0.0)


def test_fewer_samples_than_a_batch_make_one():
    features, labels = sample(20, range(10))
    small = class_statistics(features, labels, 128, "batch_means")
    whole = class_statistics(features, labels, 128, "class_means")
    np.testing.assert_allclose(small.centers, whole.centers)


def test_class_means_use_every_sample():
    features, labels = sample(77, range(10))
    found = class_statistics(features, labels, 10, "class_means")
    wanted = [features[labels == label].astype(np.float64).mean(axis=0) for label in range(10)]
    np.testing.assert_allclose(found.centers, wanted)


@pytest.mark.parametrize("form", ["element", "sample"])
@pytest.mark.parametrize("num", [1, 50])
def test_loss_of_a_set_is_that_of_the_graph_on_one_batch(form, num):
    features, labels = sample(num, range(10))
    random = np.random.RandomState(1)
    logits, centers = random.randn(num, 10).astype(np.float32), random.randn(10, 2).astype(np.float32)
    settings = LossSettings(num, 0.7, 0.3, Switches(form, form))
    enable()
    with tf.Graph().as_default(), tf.Session() as session:
        loss = git_loss.git_loss(tf.constant(features), tf.constant(logits), tf.constant(labels, tf.int64),
                                 tf.constant(centers), settings)
        wanted = session.run(loss)
    found = set_loss(features, logits, labels, centers, settings)
    for term in ("softmax", "center", "pair", "total"):
        assert getattr(found, term) == pytest.approx(getattr(wanted, term), rel=2e-6)
    assert found.accuracy == np.mean(logits.argmax(1) == labels)
