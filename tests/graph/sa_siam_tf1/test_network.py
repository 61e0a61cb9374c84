"""Parts of the network against loops of numpy, and what the variables are called."""
from __future__ import annotations

import json
import math
import os

import numpy as np
import pytest

from common.graph.compat import assign, tf
from sa_siam_tf1 import siamese_model
from sa_siam_tf1.configuration import ModelConfig, TrackConfig, TrainConfig
from sa_siam_tf1.embeddings import sa_siam
from sa_siam_tf1.inference import inference_wrapper
from tests import GOLDEN

pytestmark = pytest.mark.usefixtures("new_graph")


def evaluate(tensors, feeds=None):
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        return session.run(tensors, feeds)


@pytest.mark.parametrize("branch", ["appearance", "semantic", "both"])
def test_variables_are_those_of_the_original(branch):
    with open(os.path.join(GOLDEN, "sa_siam", "vars.json"), encoding="utf-8") as file:
        recorded = json.load(file)[branch]["train_239"]["global_variables"]
    siamese_model.build_training(ModelConfig(branch=branch), TrainConfig(batch_size=1))
    trainable = set(tf.trainable_variables())
    found = {variable.op.name: (variable.shape.as_list(), variable in trainable)
             for variable in tf.global_variables()}
    assert found == {name: (shape, is_trainable) for name, shape, is_trainable, *_ in recorded}


def test_initial_weights():
    """Largest value and deviation by both methods, worked out by hand from the fans of a group's kernel."""
    prefix = "sa_siam/appearance_net/"
    fans = {"conv1": (11 * 11 * 3, 11 * 11 * 96), "conv2/b2": (5 * 5 * 48, 5 * 5 * 128), "conv3": (2304, 3456)}
    found = {}
    for method in ("xavier_uniform", "kaiming_normal"):
        with tf.Graph().as_default():
            siamese_model.build_training(ModelConfig(init_method=method), TrainConfig(batch_size=1))
            found[method] = evaluate({variable.op.name: variable for variable in tf.global_variables()})
    for name, (fan_in, fan_out) in fans.items():
        uniform, normal = (found[method][f"{prefix}{name}/weights"] for method in ("xavier_uniform", "kaiming_normal"))
        limit = math.sqrt(6.0 / (fan_in + fan_out))
        assert 0.99 * limit < np.abs(uniform).max() <= limit
        assert normal.std() == pytest.approx(math.sqrt(2.0 / fan_out), rel=0.02)
        limit = 2.0 * math.sqrt(2.6 / fan_out)
        assert 0.99 * limit < np.abs(normal).max() <= limit * (1 + 1e-6)
    others = [name for name in found["xavier_uniform"] if not name.endswith("/weights")]
    assert all(np.array_equal(found["xavier_uniform"][name], found["kaiming_normal"][name]) for name in others)


def test_kaiming_normal_is_for_convolutions_and_goes_by_the_seed():
    found = []
    for seed in (0, 0, 1):
        getter = siamese_model._initial_weights("kaiming_normal", seed)
        with tf.Graph().as_default(), tf.variable_scope("sa_siam/semantic_net", custom_getter=getter):
            head = tf.get_variable("c1x1_conv5/weights", [1, 1, 256, 128])
            attention = tf.get_variable("att_fc1_conv5/weights", [9, 9])
            biases = tf.get_variable("c1x1_conv5/biases", [128], initializer=tf.ones_initializer())
            found.append(evaluate([head, attention, biases]))
    assert found[0][0].std() == pytest.approx(math.sqrt(2.0 / 128), rel=0.02)
    assert 0.9 < np.abs(found[0][1]).max() / math.sqrt(6.0 / 18) <= 1 and (found[0][2] == 1).all()
    for number in (0, 1):
        assert np.array_equal(found[0][number], found[1][number])
        assert not np.array_equal(found[0][number], found[2][number])


def test_correlation_is_the_sum_of_shifted_products():
    random = np.random.RandomState(0)
    maps = [(random.randn(3, 2, 2, 5), random.randn(3, 6, 6, 5)), (random.randn(3, 4, 4, 2), random.randn(3, 8, 8, 2))]
    wanted = np.zeros((3, 5, 5))
    for exemplar, instance in maps:
        cells = exemplar.shape[1]
        for sample in range(3):
            for row in range(5):
                for column in range(5):
                    window = instance[sample, row:row + cells, column:column + cells]
                    wanted[sample, row, column] += (window * exemplar[sample]).sum()
    exemplars, instances = ([tf.constant(one, tf.float32) for one in side] for side in zip(*maps))
    np.testing.assert_allclose(evaluate(sa_siam.correlate(tuple(exemplars), tuple(instances))), wanted, rtol=1e-5,
                               atol=1e-5)


def test_loss_against_loops():
    random = np.random.RandomState(1)
    response = (4 * random.randn(2, 15, 15)).astype(np.float32)
    total = 0.0
    for sample in response:
        for row in range(15):
            for column in range(15):
                positive = abs(row - 7) + abs(column - 7) <= 2
                value = float(sample[row, column])
                total += np.log1p(np.exp(-value if positive else value)) * (0.5 / 13 if positive else 0.5 / 212) / 2
    assert evaluate(siamese_model.balanced_loss(tf.constant(response))) == pytest.approx(total, rel=1e-6)
    assert siamese_model.pair_losses(response).mean() == pytest.approx(total, rel=1e-6)
    assert evaluate(siamese_model.balanced_loss(tf.zeros([3, 17, 17]))) == pytest.approx(np.log(2), rel=1e-6)


def test_loss_of_large_responses_is_finite():
    large = np.full((1, 15, 15), 1e4, np.float32)
    assert evaluate(siamese_model.balanced_loss(tf.constant(large))) == pytest.approx(5000, rel=1e-5)
    assert siamese_model.pair_losses(large)[0] == pytest.approx(5000, rel=1e-5)


def test_attention_against_loops():
    random = np.random.RandomState(2)
    maps = random.randn(2, 20, 20, 3).astype(np.float32)
    images = tf.constant(maps)
    attended = sa_siam._attend(images, 6, "conv5")
    values = {name: random.randn(*shape).astype(np.float32) for name, shape in (
        ("att_fc1_conv5/weights", (9, 9)), ("att_fc1_conv5/biases", (9,)), ("att_fc2_conv5/weights", (9, 1)),
        ("att_fc2_conv5/biases", (1,)))}
    with tf.Session() as session:
        assign(session, {variable: values[variable.op.name] for variable in tf.global_variables()})
        found = session.run(attended)
    edges = [0, 7, 13, 20]
    for sample in range(2):
        for channel in range(3):
            maxima = [maps[sample, edges[i]:edges[i + 1], edges[j]:edges[j + 1], channel].max()
                      for i in range(3) for j in range(3)]
            hidden = np.maximum(maxima @ values["att_fc1_conv5/weights"] + values["att_fc1_conv5/biases"], 0)
            score = hidden @ values["att_fc2_conv5/weights"][:, 0] + values["att_fc2_conv5/biases"][0]
            wanted = maps[sample, 7:13, 7:13, channel] * (1 / (1 + np.exp(-score)) + 0.5)
            np.testing.assert_allclose(found[sample, :, :, channel], wanted, rtol=1e-4, atol=1e-5)


def test_the_exemplar_needs_its_own_pixels_alone():
    """The template out of 127 x 127 pixels is that of the whole image."""
    images = tf.constant(np.random.RandomState(3).uniform(0, 255, (1, 255, 255, 3)).astype(np.float32))
    window = inference_wrapper.exemplar_window(images)
    assert window.shape.as_list() == [1, 127, 127, 3]
    (small,) = sa_siam.appearance(window, sa_siam.Normaliser(False), True)
    with tf.variable_scope(tf.get_variable_scope(), reuse=True):
        (whole,) = sa_siam.appearance(images, sa_siam.Normaliser(False), True)
        (full,) = sa_siam.appearance(images, sa_siam.Normaliser(False), False)
    small, whole, full = evaluate([small, whole, full])
    np.testing.assert_allclose(small, whole, rtol=1e-4, atol=1e-4 * np.abs(whole).max())
    np.testing.assert_allclose(full[:, 8:14, 8:14], whole, rtol=1e-4, atol=1e-4 * np.abs(whole).max())


def test_validation_changes_nothing_and_moving_statistics_are_updated_twice():
    config = TrainConfig(batch_size=1)
    graph = siamese_model.build_training(ModelConfig(), config)
    validation = siamese_model.build_validation(ModelConfig(), 1, 0)
    random = np.random.RandomState(4)
    exemplars, instances = random.uniform(0, 255, (2, 1, 239, 239, 3))
    variables = {variable.op.name: variable for variable in tf.global_variables()}
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        before = session.run(variables)
        session.run(validation.response, {validation.exemplars: random.uniform(0, 255, (1, 255, 255, 3)),
                                          validation.instances: random.uniform(0, 255, (1, 255, 255, 3))})
        assert all(np.array_equal(value, before[name]) for name, value in session.run(variables).items())
        feeds = {graph.towers.exemplars: exemplars, graph.towers.instances: instances, graph.learning_rate: 0.0}
        (_, exemplar_mean), (_, instance_mean) = (normaliser.statistics[0] for normaliser in graph.normalisers)
        means = session.run([exemplar_mean, instance_mean, graph.train_op], feeds)
        after = session.run(variables)
    moving = 0.95 * (0.05 * means[1]) + 0.05 * means[0]
    np.testing.assert_allclose(after["sa_siam/appearance_net/conv1/BatchNorm/moving_mean"], moving, rtol=1e-5)
    assert after["train/global_step"] == 1
    weights = "sa_siam/appearance_net/conv3/weights"
    assert np.array_equal(after[weights], before[weights])  # the rate was 0


def test_loss_scaling_leaves_the_gradients():
    random = np.random.RandomState(5)
    images = random.uniform(0, 255, (2, 1, 239, 239, 3))
    found = []
    for scale in (1.0, 1024.0):
        with tf.Graph().as_default():
            graph = siamese_model.build_training(ModelConfig(branch="semantic"), TrainConfig(batch_size=1,
                                                                                             loss_scale=scale))
            gradients = {variable.op.name: gradient for gradient, variable in graph.gradients}
            found.append(evaluate(gradients, {graph.towers.exemplars: images[0], graph.towers.instances: images[1]}))
    for name, value in found[0].items():
        np.testing.assert_allclose(found[1][name], value, rtol=1e-3, atol=1e-6 * max(1.0, np.abs(value).max()))


def test_the_frozen_trunk_costs_no_gradient():
    graph = siamese_model.build_training(ModelConfig(branch="semantic"), TrainConfig(batch_size=1))
    names = [operation.name for operation in tf.get_default_graph().get_operations()
             if operation.type.startswith("Conv2DBackprop")]
    assert names and not [name for name in names if "/conv" in name.replace("/c1x1_conv", "/head")]
    assert len(graph.gradients) == 13


def test_search_windows_outside_of_the_frame_have_its_mean_colour():
    track = TrackConfig()
    windows = inference_wrapper._windows(1, track.x_image_size)
    frame = np.random.RandomState(6).randint(0, 256, (40, 50, 3)).astype(np.uint8)
    boxes = inference_wrapper.window_boxes(frame.shape[:2], (0.0, 25.0), [31.0])
    images = evaluate(windows.images, {windows.frame: frame, windows.mean_colour: [1.0, 2.0, 3.0],
                                       windows.boxes: boxes})
    assert (images[0, :127] == [1.0, 2.0, 3.0]).all()
    np.testing.assert_allclose(images[0, 127, 127], frame[0, 25], atol=1e-2)
    step = 30.0 / 254.0  # pixels of the frame between points
    y, x = 40 * step, 25.0 + 60 * step
    top, left = int(y), int(x)
    patch = frame[top:top + 2, left:left + 2].astype(float)
    rows = patch[0] + (patch[1] - patch[0]) * (y - top)
    np.testing.assert_allclose(images[0, 167, 187], rows[0] + (rows[1] - rows[0]) * (x - left), atol=2e-2)
