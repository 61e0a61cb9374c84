"""Variables, heads, batch normalisation, extra options and moving averages of the graphs."""
from __future__ import annotations

import dataclasses
import json
import os

import numpy as np
import pytest

from circleloss_tf1 import facenet, model
from circleloss_tf1.models import resnet
from circleloss_tf1.recipe import RECIPES, Extras, NetworkSettings
from common.graph.compat import enable, tf
from tests import GOLDEN

pytestmark = pytest.mark.usefixtures("one_block")

enable()
SIDE, BATCH, CLASSES = 32, 4, 3


def settings(switches=RECIPES["reference"], model_def="models.resnet10", loss=None, **extras):
    return model.TrainSettings(BATCH, CLASSES, NetworkSettings(model_def, switches, Extras(**dict(
        {"image_size": SIDE}, **extras))), loss or model.LossSettings(), facenet.StepSettings("ADAM", 10, 0.1, 0.99), 1)


def batch(seed=0):
    random = np.random.RandomState(seed)
    return random.randn(BATCH, SIDE, SIDE, 3).astype(np.float32), np.array([0, 1, 2, 1], np.int32)


def feeds(graph, seed=0, rate=0.1):
    images, labels = batch(seed)
    return {graph.images: images, graph.labels: labels, graph.rate: rate}


def test_names_order_and_shapes_are_the_original_s():
    """Also with the globals of training: 664 in the original, which had slots for `centers` (2) and no histogram."""
    with open(os.path.join(GOLDEN, "circleloss", "circle_vars.json"), encoding="utf-8") as file:
        wanted = json.load(file)
    with tf.Graph().as_default():
        model.build_training(dataclasses.replace(settings(model_def="models.resnet34", image_size=112),
                                                 num_classes=wanted[-1]["shape"][0]))
        found = tf.global_variables()
        assert len(found) == 664 - 2 + 1 and found[-1].op.name == "prelogits_histogram"
        trainable = {variable.op.name for variable in tf.trainable_variables()}
        assert len(trainable) == 146
        for variable, entry in zip(found, wanted):
            assert (variable.op.name, variable.shape.as_list(), variable.dtype.base_dtype.name,
                    variable.op.name in trainable) == tuple(entry[key] for key in ("name", "shape", "dtype",
                                                                                   "trainable"))


def test_prelogits_are_the_mean_over_the_last_stage():
    with tf.Graph().as_default(), tf.Session() as session:
        graph = model.build_training(settings())
        session.run(tf.global_variables_initializer())
        prelogits, stage = session.run([graph.prelogits, graph.network.stages[-1]], feeds(graph))
        assert stage.shape == (BATCH, SIDE // 4, SIDE // 4, 128) and (stage >= 0).all()
        np.testing.assert_allclose(prelogits, stage.mean(axis=(1, 2)), rtol=1e-5)


def test_heads():
    prelogits = np.random.RandomState(0).randn(BATCH, 5).astype(np.float32)
    for form in ("logits", "cosine"):
        with tf.Graph().as_default(), tf.Session() as session:
            head = model.build_head(tf.constant(prelogits), CLASSES, form, seed=1)
            names = [variable.op.name for variable in tf.global_variables()]
            session.run(tf.global_variables_initializer())
            values, (logits, similarities) = session.run([tf.global_variables(), head])
        if form == "logits":
            assert names == ["dense/kernel", "dense/bias"]
            wanted = prelogits @ values[0] + values[1]
            np.testing.assert_allclose(logits, wanted, rtol=1e-5)
            np.testing.assert_allclose(similarities, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), rtol=1e-5)
        else:
            assert names == ["dense/kernel"]
            wanted = [[np.dot(row, column) / np.linalg.norm(row) / np.linalg.norm(column) for column in values[0].T]
                      for row in prelogits]
            np.testing.assert_allclose(similarities, wanted, rtol=1e-5)


def build_forward(chosen, getter=None):
    """A function from session and images to embeddings, on the variables of a training graph."""
    placeholder = model.image_placeholder(BATCH, chosen.network)
    embeddings = model.embed(placeholder, chosen.network, getter, reuse=True)
    return lambda session, images: session.run(embeddings, {placeholder: images})


def test_batch_statistics_look_at_the_batch_and_never_move():
    with tf.Graph().as_default(), tf.Session() as session:
        train = model.build_training(settings())
        forward = build_forward(settings())
        session.run(tf.global_variables_initializer())
        images, _ = batch()
        other = np.concatenate([images[:1], 5 + images[1:]])
        session.run(train.train_op, feeds(train))
        assert np.abs(forward(session, images)[0] - forward(session, other)[0]).max() > 1e-3
        means = [variable for variable in tf.global_variables() if "moving_mean" in variable.op.name]
        assert not any(mean.any() for mean in session.run(means))


def test_moving_statistics():
    """New = old + 0.005 (batch - old), the variance unbiased; afterwards an embedding is that of its image alone."""
    chosen = settings(RECIPES["corrected"])
    with tf.Graph().as_default(), tf.Session() as session:
        train = model.build_training(chosen)
        forward = build_forward(chosen)
        session.run(tf.global_variables_initializer())
        first = session.run(train.network.first_convolution, feeds(train))
        session.run(train.train_op, feeds(train))
        moving = session.run({variable.op.name: variable for variable in tf.global_variables()
                              if "/moving_" in variable.op.name})
        np.testing.assert_allclose(moving["batch_normalization/moving_mean"], 0.005 * first.mean(axis=(0, 1, 2)),
                                   rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(moving["batch_normalization/moving_variance"],
                                   0.995 + 0.005 * first.var(axis=(0, 1, 2), ddof=1), rtol=1e-4)
        images, _ = batch()
        other = np.concatenate([images[:1], 5 + images[1:]])
        np.testing.assert_allclose(forward(session, images)[0], forward(session, other)[0], atol=1e-6)


def test_centers_move_and_the_optimiser_leaves_them_alone():
    loss = model.LossSettings(center_loss_factor=0.5, center_loss_alfa=0.9)
    with tf.Graph().as_default(), tf.Session() as session:
        graph = model.build_training(settings(loss=loss))
        assert graph.centers not in [variable for _, variable in graph.step.gradients]
        session.run(tf.global_variables_initializer())
        prelogits, labels = session.run(graph.prelogits, feeds(graph)), batch()[1]
        losses = session.run([graph.losses, graph.train_op], feeds(graph))[0]
        assert losses.center == pytest.approx(np.mean(prelogits ** 2), rel=1e-5)  # with the old centers, zeros
        assert losses.total == pytest.approx(losses.circle + 0.5 * losses.center, rel=1e-6)
        wanted = [0.1 * prelogits[labels == label].sum(axis=0) for label in range(CLASSES)]
        np.testing.assert_allclose(session.run(graph.centers), wanted, rtol=1e-4, atol=1e-6)


def test_embedding_size_adds_a_layer_and_weight_decay_its_penalty():
    chosen = settings(RECIPES["corrected"], embedding_size=7, weight_decay=0.01)
    with tf.Graph().as_default(), tf.Session() as session:
        graph = model.build_training(chosen)
        assert graph.prelogits.shape.as_list() == [BATCH, 7]
        session.run(tf.global_variables_initializer())
        kernels = session.run([variable for variable in tf.trainable_variables()
                               if variable.op.name.endswith("/kernel")])
        losses = session.run(graph.losses, feeds(graph))
        wanted = 0.01 * sum(0.5 * np.square(kernel).sum() for kernel in kernels)
        assert losses.regularisation == pytest.approx(wanted, rel=1e-4)


def test_dropout_is_a_function_of_seed_and_step():
    found = []
    for _ in range(2):
        with tf.Graph().as_default(), tf.Session() as session:
            graph = model.build_training(settings(RECIPES["corrected"], keep_probability=0.5))
            session.run(tf.global_variables_initializer())
            one, other = (session.run(graph.losses.circle, feeds(graph)) for _ in range(2))
            session.run(graph.global_step.assign_add(1))
            found.append((one, other, session.run(graph.losses.circle, feeds(graph))))
    assert found[0] == found[1] and found[0][0] == found[0][1] != found[0][2]


def test_forward_with_moving_averages():
    with tf.Graph().as_default(), tf.Session() as session:
        train = model.build_training(settings())
        live = build_forward(settings())
        averaged = build_forward(settings(), model.average_getter(train.step.averages))
        session.run(tf.global_variables_initializer())
        images, _ = batch()
        np.testing.assert_allclose(live(session, images), averaged(session, images), atol=1e-6)
        for _ in range(2):
            session.run(train.train_op, feeds(train))
        before = averaged(session, images)
        assert np.abs(live(session, images) - before).max() > 1e-4
        # weights replaced by their averages give what the getter gave
        session.run([variable.assign(train.step.averages.average(variable)) for variable in tf.trainable_variables()])
        np.testing.assert_allclose(live(session, images), before, atol=1e-6)


def test_validation_is_what_training_computes():
    """With batch statistics and no dropout the two graphs agree."""
    with tf.Graph().as_default(), tf.Session() as session:
        train = model.build_training(settings())
        graph = model.build_validation(settings())
        session.run(tf.global_variables_initializer())
        images, labels = batch()
        found = session.run([graph.losses.total, graph.accuracy], {graph.images: images, graph.labels: labels})
        wanted = session.run([train.losses.total, train.accuracy], feeds(train))
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_initial_weights_depend_on_the_seed_alone():
    found = []
    for seed in (1, 1, 2):
        with tf.Graph().as_default(), tf.Session() as session:
            tf.constant(0.0)
            model.build_training(dataclasses.replace(settings(), seed=seed))
            session.run(tf.global_variables_initializer())
            kernel = session.run(tf.global_variables()[1])
            found.append(kernel)
    limit = np.sqrt(6.0 / (49 * 3 + 49 * 16))
    assert np.abs(found[0]).max() <= limit and np.abs(found[0]).max() > 0.95 * limit
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()


def test_architectures():
    assert resnet.ARCHITECTURES["models.resnet34"] == ((3, 4, 6, 3), (64, 128, 256, 512))
