"""Layers against loops in numpy."""
from __future__ import annotations

import numpy as np
import pytest

from common.graph.compat import tf
from common.seeds import op_seed
from gitloss_tf1 import model as layers

pytestmark = pytest.mark.usefixtures("new_graph")


def run(tensor, **assigned):
    """Evaluate with some variables set, by the last parts of their names."""
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for variable in tf.global_variables():
            key = variable.op.name.split("/")[-1]
            if key in assigned:
                session.run(variable.assign(assigned[key]))
        return session.run(tensor)


def test_conv2d():
    random = np.random.RandomState(0)
    image, kernel = random.randn(1, 4, 5, 2).astype("f"), random.randn(3, 3, 2, 3).astype("f")
    bias = np.array([1.0, -1.0, 0.5], "f")
    found = run(tf.nn.relu(layers.conv2d(tf.constant(image), 3, "c", 0)), weights=kernel, biases=bias)
    padded = np.pad(image[0], ((1, 1), (1, 1), (0, 0)), "constant")
    for row, column, channel in np.ndindex(4, 5, 3):
        value = (padded[row:row + 3, column:column + 3] * kernel[..., channel]).sum() + bias[channel]
        assert found[0, row, column, channel] == pytest.approx(max(value, 0.0), abs=1e-5)
    assert [variable.op.name for variable in tf.global_variables()] == ["c/weights", "c/biases"]


def test_dense():
    weights, biases = np.array([[1.0, 2.0], [0.0, -1.0], [4.0, 0.5]], "f"), np.array([0.25, -1.0], "f")
    found = run(layers.dense(tf.constant([[1.0, 2.0, 3.0]]), 2, "d", 0), weights=weights, biases=biases)
    assert found.tolist() == [[13.25, 0.5]]


def test_max_pool_drops_what_fills_no_window():
    values = np.arange(25, dtype="f").reshape(1, 5, 5, 1)
    assert run(layers.max_pool(tf.constant(values)))[0, ..., 0].tolist() == [[6, 8], [16, 18]]


def test_prelu():
    found = run(layers.prelu(tf.constant([[-2.0, -2.0], [3.0, 0.0]]), "p"), alphas=np.array([0.5, -1.0], "f"))
    assert found.tolist() == [[-1.0, 2.0], [3.0, 0.0]]


def test_seeds_depend_on_name_and_seed():
    assert op_seed("a/weights", 0) != op_seed("b/weights", 0) != op_seed("b/weights", 1)
    assert 0 <= op_seed("a/weights", 2 ** 40) < 2 ** 31
