"""The graph: names, shapes and order of the original, its step, and the same weights everywhere."""
from __future__ import annotations

import json
import os

import numpy as np
import pytest

from common.errors import FlagError
from common.graph import checkpoints
from common.graph.compat import tf
from gitloss_tf1 import model
from gitloss_tf1.recipe import RECIPES, LossSettings, Switches
from tests import GOLDEN

pytestmark = pytest.mark.usefixtures("new_graph")


def build(switches=RECIPES["reference"], seed=0, batch=4):
    return model.build_training(LossSettings(batch, switches=switches), seed)


def test_variables_are_those_of_the_original_in_their_order():
    build()
    with open(os.path.join(GOLDEN, "gitloss", "gitloss_vars.json"), encoding="utf-8") as file:
        wanted = [(name, shape) for name, shape in json.load(file)]
    found = [(variable.op.name, variable.shape.as_list()) for variable in tf.global_variables()]
    assert len(found) == 57 and found == wanted
    dtypes = {variable.op.name: variable.dtype.base_dtype for variable in tf.global_variables()}
    assert dtypes.pop("is_training") == tf.bool and dtypes.pop("global_step") == tf.int32
    assert set(dtypes.values()) == {tf.float32}


def test_parameters():
    build()
    trainable = tf.trainable_variables()
    assert len(trainable) == 17
    assert sum(int(np.prod(variable.shape.as_list())) for variable in trainable) == 288770


def test_corrected_recipe_has_no_dead_variable():
    build(RECIPES["corrected"])
    names = {variable.op.name for variable in tf.global_variables()}
    assert "loss/centers" in names and not names & {"centers", "is_training"} and len(names) == 55


def test_initial_weights():
    build(seed=3)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        values = session.run({variable.op.name: variable for variable in tf.global_variables()})
    for name, value in values.items():
        if name.endswith("weights"):
            fan_in, fan_out = value.shape[-2] * value[..., 0, 0].size, value.shape[-1] * value[..., 0, 0].size
            limit = np.sqrt(6.0 / (fan_in + fan_out))
            assert np.abs(value).max() <= limit and np.abs(value).max() > 0.8 * limit
        elif name == "beta1_power":
            assert value == np.float32(0.9)
        elif name == "beta2_power":
            assert value == np.float32(0.999)
        else:
            assert not value.any(), name


def first_weights(seed):
    with tf.Graph().as_default():
        build(seed=seed)
        (weights,) = [variable for variable in tf.global_variables() if variable.op.name == "conv1_1/weights"]
        with tf.Session() as session:
            session.run(weights.initializer)
            return session.run(weights)


def test_initial_weights_depend_on_the_seed_alone():
    assert np.array_equal(first_weights(1), first_weights(1))
    assert not np.array_equal(first_weights(1), first_weights(2))


def test_initial_weights_are_the_same_on_every_tensorflow():
    """Recorded on TensorFlow 1.15.5; 2.x draws the same because both graph and op seeds are set."""
    recorded = [0.09839247, -0.04832816, 0.07372482, 0.04054421]
    np.testing.assert_allclose(first_weights(0).reshape(-1)[:4], recorded, rtol=0, atol=1e-7)


def train_once(graph, session, images, labels):
    return session.run([graph.loss.total, graph.center_distances, graph.train_op],
                       {graph.images: images, graph.labels: labels})


def batch(seed=0):
    random = np.random.RandomState(seed)
    return random.rand(4, 28, 28, 1).astype(np.float32), np.array([1, 1, 2, 9])


def test_a_step_moves_weights_centers_and_counter_together():
    graph = build()
    forward = model.build_forward(4)
    images, labels = batch()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        features = session.run(forward.outputs.features, {forward.images: images})
        train_once(graph, session, images, labels)
        centers, step = session.run([graph.centers, graph.global_step])
    assert step == 1
    wanted = np.zeros((10, 2))
    wanted[1] = 0.5 * features[:2].sum(0) / 3  # from the weights before the step
    wanted[2], wanted[9] = 0.5 * features[2] / 2, 0.5 * features[3] / 2
    np.testing.assert_allclose(centers, wanted, atol=1e-6)


@pytest.mark.parametrize("which", ["dead", "real"])
def test_distances_are_taken_from_dead_or_real_centers(which):
    graph = build(Switches(distance_centers=which))
    images, labels = batch()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(graph.centers.assign(np.full((10, 2), 7.0, np.float32)))
        features, distances = session.run([graph.outputs.features, graph.center_distances],
                                          {graph.images: images, graph.labels: labels})
    center = 7.0 if which == "real" else 0.0
    np.testing.assert_allclose(distances, (center - features) / np.array([3, 3, 2, 2])[:, None], rtol=1e-5, atol=1e-6)


def test_a_checkpoint_of_the_original_restores(tmp_path):
    """Its 57 variables after one training step, as recorded, saved under their names by plain TensorFlow."""
    recorded = np.load(os.path.join(GOLDEN, "gitloss", "gitloss_parity_seed1.npz"), allow_pickle=False)
    values = {name[len("after/"):]: recorded[name] for name in recorded.files if name.startswith("after/")}
    prefix = str(tmp_path / "model.ckpt")
    with tf.Graph().as_default(), tf.Session() as session:
        variables = [tf.get_variable(name, initializer=value) for name, value in values.items()]
        session.run(tf.global_variables_initializer())
        tf.train.Saver(variables).save(session, prefix)
    build()
    with tf.Session() as session:
        checkpoints.restore_all(session, prefix, tf.global_variables())
        for variable in tf.global_variables():
            assert np.array_equal(session.run(variable), values[variable.op.name]), variable.op.name


def test_dead_centers_need_their_variable():
    with pytest.raises(FlagError, match="needs --dead_variables"):
        Switches(dead_variables=False)


def test_ties_in_a_pooling_window_send_the_gradient_to_the_first():
    values = [[1, 1, 0, 0], [1, 1, 0, 2], [3, 0, 5, 5], [0, 3, 4, 5]]
    images = tf.constant(np.array(values, np.float32)[None, ..., None])
    (gradient,) = tf.gradients(tf.reduce_sum(model.max_pool(images)), images)
    with tf.Session() as session:
        found = session.run(gradient)[0, ..., 0]
    assert found.tolist() == [[1, 0, 0, 0], [0, 0, 0, 1], [1, 0, 1, 0], [0, 0, 0, 0]]
