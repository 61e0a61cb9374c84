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
from siamese_omniglot.nets import siamese
from siamese_omniglot.run_scripts import run_siamese_train
from tests.keras.siamese_omniglot.conftest import train
from tests.programs import error_line
from tests.results import losses as losses_of
from tests.results import rows

RATE = 2e-4


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
    assert float(siamese.n_pair_loss(logits)) == pytest.approx(expected, rel=1e-6)


def test_against_the_oracle():
    logits = np.random.RandomState(0).normal(0, 3, (6, 6)).astype(np.float32)
    assert float(siamese.n_pair_loss(tf.constant(logits))) == pytest.approx(oracle(logits), rel=1e-5)


def test_extremes():
    assert float(siamese.n_pair_loss(tf.constant([[7.0]]))) == 0.0  # a pair without others
    assert float(siamese.n_pair_loss(tf.constant([[0.0, 1e4], [1e4, 0.0]]))) == pytest.approx(1e4)


def test_similarities_of_all_pairs_of_features():
    network = siamese.build("conv4", "tf", seed=0)
    first, second = (np.random.RandomState(seed).rand(num, 256).astype(np.float32) for seed, num in ((1, 2), (2, 3)))
    table = network.similarities(tf.constant(first), tf.constant(second)).numpy()
    assert table.shape == (2, 3)
    for row, column in np.ndindex(2, 3):
        one = network.similarity(tf.constant(first[row:row + 1]), tf.constant(second[column:column + 1])).numpy()
        np.testing.assert_allclose(table[row, column], one[0], rtol=1e-5, atol=1e-6)


def updated(loss, first, second, labels):
    """The outcome of an update, and the variables after it."""
    network = siamese.build("conv4", "cosine", seed=0)
    optimizer = update.make_optimizer("sgd")
    optimizer.learning_rate = RATE
    settings = update.UpdateSettings("cosine", 0.0, num_pairs=6, takes_times=False, loss=loss)
    updater = update.Updater(network, optimizer, settings, workers.make(Rank(), "cpu"))
    outcome, _ = updater(PairImages(first, second, np.array(labels, np.float32)))
    return outcome, network.named_variables()


def test_an_update_follows_the_gradient_of_the_n_pair_loss():
    """It is added to the loss of three pairs and of three that take the second drawing of the next pair.

    Nesterov's first step is -1.9 * rate * gradient, so the slope of the loss along it is -|step|^2 / (1.9 rate).
    """
    random = np.random.RandomState(1)
    first, second = (random.randint(0, 256, (3, 105, 105), np.uint8) for _ in range(2))
    outcome, weighted = updated("n_pair", first, second, [1, 1, 1])
    plain_outcome, plain = updated("pairs", np.concatenate([first, first]),
                                   np.concatenate([second, second[[1, 2, 0]]]), [1, 1, 1, 0, 0, 0])
    assert outcome.loss == pytest.approx(plain_outcome.loss, rel=1e-5) and outcome.accuracy == plain_outcome.accuracy
    start = siamese.build("conv4", "cosine", seed=0).named_variables()
    step = {name: np.asarray(weighted[name]) - np.asarray(plain[name]) for name in start}
    probe = siamese.build("conv4", "cosine", seed=0)

    def loss_at(share):
        for name, variable in probe.named_variables().items():
            variable.assign(np.asarray(start[name]) + share * step[name])
        return oracle(probe.similarities(*(probe.features(tf.constant(drawings)) for drawings in (first, second))))

    slope = (loss_at(20) - loss_at(-20)) / 40
    square = sum(float(np.square(change).sum()) for change in step.values())
    assert square > 0 and slope == pytest.approx(-square / (1.9 * RATE), rel=0.03)


def test_logits_of_the_cosine_head_by_hand():
    network = siamese.build("conv4", "cosine", seed=0)
    drawings = [np.random.RandomState(seed).randint(0, 256, (4, 105, 105), np.uint8) for seed in (1, 2)]
    raw = [network.tower(network.to_input(tf.constant(one))).numpy().astype(np.float64) for one in drawings]
    cosines = (raw[0] * raw[1]).sum(1) / (np.linalg.norm(raw[0], axis=1) * np.linalg.norm(raw[1], axis=1))
    logits = network.logits(*map(tf.constant, drawings)).numpy()
    np.testing.assert_allclose(logits, 10 * cosines - 5, atol=1e-5)
    assert list(network.named_variables())[-4:] == ["conv4/kernel", "conv4/bias", "dense_1/kernel", "dense_1/bias"]
    blank = tf.constant(np.full((1, 105, 105), 0, np.uint8))  # features are zero, and have no direction
    assert np.all(np.isfinite(network.logits(blank, blank).numpy()))


def test_batches_hold_pairs_of_one_character(tiny_folder, tmp_path):
    assert train(tiny_folder, tmp_path, "--loss=n_pair", "--head=cosine", "--train_steps=2",
                 "--data_dump_flag", "--data_dump_step=1") == 0
    dump = tmp_path / "0" / "data_dump" / "step-1"
    labels, logits, first = (np.load(str(dump / f"{name}.npy")) for name in ("labels", "logits", "first"))
    assert labels.tolist() == [1.0] * 6 + [0.0] * 6 and len(logits) == 12 and len(first) == 6
    assert np.all(np.isfinite(losses_of(tmp_path / "0")))
    seconds = rows(tmp_path / "0", "step")[0]["step_seconds"]
    (line,) = (line for line in (tmp_path / "0" / "train_0.log").read_text().splitlines() if "Iteration: 0 " in line)
    assert f"train.ips : {2 * 6 / seconds:.3f} imgs/s" in line  # a sample has two images


def test_several_processes_are_refused(tiny_folder, tmp_path, capfd):
    assert run_siamese_train.main([f"--data_path={tiny_folder}", f"--output_path={tmp_path}", "--loss=n_pair",
                                   "--distributed=True", "--nproc_per_node=2", "--device=cpu", "--batch_size=6"]) == 2
    assert "--loss=n_pair: compares all pairs of a batch and needs one process" in error_line(capfd)
