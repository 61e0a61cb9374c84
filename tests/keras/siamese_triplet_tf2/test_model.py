"""The network: what is frozen, what its parts are, what normalisation does. Recorded numbers are in tests/parity."""
from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from siamese_triplet_tf2.model import (
    FEATURE_SHAPES,
    FLAT_SIZES,
    LAST_FROZEN,
    build_embedding,
    folded,
    trainable_names,
    variable_names,
)


@pytest.fixture(scope="module")
def resnet():
    return build_embedding("resnet50", seed=0)


def count(variables):
    return sum(int(np.prod(variable.shape)) for variable in variables)


def test_the_counts_of_the_original(resnet):
    assert count(resnet.whole.weights) == 75_168_640 and len(resnet.whole.weights) == 332
    assert count(resnet.tail.trainable_variables) == 60_510_720 and len(resnet.tail.trainable_variables) == 34
    assert resnet.frozen.trainable_variables == []


def test_the_backbone_s_frozen_layers_are_those_before_its_154th(resnet):
    base = tf.keras.applications.ResNet50(weights=None, include_top=False, input_shape=(200, 200, 3))
    index = [layer.name for layer in base.layers].index(LAST_FROZEN)
    assert index == 154
    frozen = {layer.name for layer in base.layers[:index]}
    for layer in resnet.whole.layers:
        assert not layer.weights or layer.trainable == (layer.name not in frozen), layer.name


def test_the_tail_continues_where_the_frozen_part_ends(resnet):
    images = tf.constant(np.random.RandomState(0).rand(2, 200, 200, 3), tf.float32)
    whole = resnet.whole(images, training=False).numpy()
    parts = resnet.tail(resnet.frozen(images, training=False), training=False).numpy()
    assert np.array_equal(whole, parts)


def test_folding_changes_rounding_only():
    model = build_embedding("resnet50", seed=0)
    random = np.random.RandomState(0)
    for layer in model.frozen.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 1.5, values.shape) for values in layer.get_weights()])
    images = tf.constant(random.rand(2, 200, 200, 3), tf.float32)
    features = model.frozen(images, training=False).numpy()
    copy = folded(model.frozen)
    assert np.abs(copy(images, training=False).numpy() - features).max() < 1e-5 * np.abs(features).max()
    assert not any(isinstance(layer, tf.keras.layers.BatchNormalization) for layer in copy.layers)


def test_folding_a_network_without_normalisation_changes_nothing(tiny):
    images = tf.constant(np.random.RandomState(0).rand(2, 200, 200, 3), tf.float32)
    assert np.array_equal(folded(tiny.frozen)(images, training=False), tiny.frozen(images, training=False))


@pytest.mark.parametrize("training", [False, True])
def test_normalisation(tiny, training):
    """training=False: moving statistics, which stay; training=True: the batch's in what trains alone."""
    images = tf.constant(np.random.RandomState(1).rand(4, 200, 200, 3), tf.float32)
    names = variable_names(tiny.whole)
    before = [np.asarray(variable).copy() for variable in tiny.whole.weights]
    frozen = [tiny.frozen(images, training=mode).numpy() for mode in (False, True)]
    assert np.array_equal(*frozen)
    tiny.tail(frozen[0], training=training)
    moved = {name for name, old, variable in zip(names, before, tiny.whole.weights)
             if not np.array_equal(old, np.asarray(variable))}
    wanted = {name for name in names if "/moving_" in name} if training else set()
    assert moved == wanted
    for old, variable in zip(before, tiny.whole.weights):
        variable.assign(old)


def test_the_seed_alone_makes_the_weights(tiny):
    same, other = build_embedding("tiny", seed=5), build_embedding("tiny", seed=6)
    for name, one, two, three in zip(variable_names(tiny.whole), tiny.whole.weights, same.whole.weights,
                                     other.whole.weights):
        assert np.array_equal(one, two)
        assert name.endswith("/kernel") != np.array_equal(one, three), name


def test_names_are_the_same_on_every_keras(tiny):
    names = variable_names(tiny.whole)
    assert names[:2] == ["conv1_conv/kernel", "conv1_conv/bias"] and len(set(names)) == len(names)
    assert trainable_names(tiny)[-2:] == ["dense_2/kernel", "dense_2/bias"]
    assert not any("moving" in name or "conv1" in name for name in trainable_names(tiny))


def test_sizes_tell_backbones_apart(tiny):
    flat = {FLAT_SIZES[name]: name for name in FLAT_SIZES}
    assert flat[tiny.whole.get_layer("dense").kernel.shape[0]] == "tiny" and len(flat) == 2
    assert tuple(tiny.frozen.output.shape[1:]) == FEATURE_SHAPES["tiny"]
