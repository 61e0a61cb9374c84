"""The N-pair loss: each drawing beside its partner and the partners of the other pairs."""
from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from common.devices.selection import Rank
from common.keras import workers
from siamese_omniglot import update
from siamese_omniglot.data.batches import PairImages
from siamese_omniglot.nets import losses, siamese
from siamese_omniglot.run_scripts import run_siamese_train
from tests.programs import error_line

RATE, WEIGHT = 2e-4, 0.5


def oracle(logits):
    """One softmax after the other, in float64."""
    logits = np.asarray(logits, np.float64)
    terms = []
    for table in (logits, logits.T):
        for number, row in enumerate(table):
            terms.append(math.log(sum(math.exp(value - row[number]) for value in row)))
    return sum(terms) / len(terms)


def test_by_hand():
    logits = tf.constant([[0.0, math.log(3.0)], [0.0, 0.0]])
    expected = (math.log(4.0) + math.log(2.0) + math.log(2.0) + math.log(4.0)) / 4
    assert float(losses.n_pair_loss(logits)) == pytest.approx(expected, rel=1e-6)


def test_against_the_oracle():
    logits = np.random.RandomState(0).normal(0, 3, (6, 6)).astype(np.float32)
    assert float(losses.n_pair_loss(tf.constant(logits))) == pytest.approx(oracle(logits), rel=1e-5)


def test_extremes():
    assert float(losses.n_pair_loss(tf.constant([[7.0]]))) == 0.0  # a pair without others
    assert float(losses.n_pair_loss(tf.constant([[0.0, 1e4], [1e4, 0.0]]))) == pytest.approx(1e4)


def test_similarities_of_all_pairs_of_features():
    network = siamese.build("conv4", "tf", seed=0)
    first, second = (np.random.RandomState(seed).rand(num, 256).astype(np.float32) for seed, num in ((1, 2), (2, 3)))
    table = network.similarities(tf.constant(first), tf.constant(second)).numpy()
    assert table.shape == (2, 3)
    for row, column in np.ndindex(2, 3):
        one = network.similarity(tf.constant(first[row:row + 1]), tf.constant(second[column:column + 1])).numpy()
        np.testing.assert_allclose(table[row, column], one[0], rtol=1e-5, atol=1e-6)


def test_an_update_follows_the_gradient_of_the_pairs_of_one_character():
    """Nesterov's first step is -1.9 * rate * gradient, so the slope of the loss along it is -|step|^2 / (1.9 rate)."""
    random = np.random.RandomState(1)
    first, second = (random.randint(0, 256, (6, 105, 105), np.uint8) for _ in range(2))
    labels = np.array([0, 1, 1, 0, 1, 0], np.float32)
    networks = []
    for weight in (0.0, WEIGHT):
        network = siamese.build("conv4", "tf", seed=0)
        optimizer = update.make_optimizer("sgd")
        optimizer.learning_rate = RATE
        settings = update.UpdateSettings("tf", 0.0, num_pairs=6, takes_times=False, n_pair_weight=weight)
        update.Updater(network, optimizer, settings, workers.make(Rank(), "cpu"))(PairImages(first, second, labels))
        networks.append(network)
    start = siamese.build("conv4", "tf", seed=0).named_variables()
    plain, weighted = (network.named_variables() for network in networks)
    step = {name: np.asarray(weighted[name]) - np.asarray(plain[name]) for name in start}
    probe = siamese.build("conv4", "tf", seed=0)

    def loss_at(share):
        for name, variable in probe.named_variables().items():
            variable.assign(np.asarray(start[name]) + share * step[name])
        same = labels > 0.5
        return oracle(probe.similarities(*probe.pair_features(tf.constant(first[same]), tf.constant(second[same]))))

    slope = (loss_at(0.1) - loss_at(-0.1)) / 0.2
    square = sum(float(np.square(change).sum()) for change in step.values())
    assert square > 0 and slope == pytest.approx(-square / (1.9 * RATE * WEIGHT), rel=0.03)


def test_several_processes_are_refused(tiny_folder, tmp_path, capfd):
    assert run_siamese_train.main([f"--data_path={tiny_folder}", f"--output_path={tmp_path}", "--n_pair_weight=1",
                                   "--distributed=True", "--nproc_per_node=2", "--device=cpu", "--batch_size=6"]) == 2
    assert "--n_pair_weight=1.0: compares all pairs of a batch and needs one process" in error_line(capfd)
