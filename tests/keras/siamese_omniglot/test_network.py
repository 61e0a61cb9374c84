"""Network, losses and ROC against numpy and against what is known of the original's network."""
from __future__ import annotations

import types

import h5py
import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import gaussian_filter

from common.devices.selection import Device, Rank
from common.errors import ZooError
from common.keras import session, workers
from siamese_omniglot import pretrained, update
from siamese_omniglot.data.batches import PairImages
from siamese_omniglot.nets import siamese
from tests.keras import weight_files


@pytest.fixture(scope="module")
def vgg16():
    return siamese.build("vgg16", "tf", seed=0)


@pytest.fixture(scope="module")
def conv4():
    return siamese.build("conv4", "tf", seed=0)


def test_vgg16_is_the_original_s(vgg16):
    variables = vgg16.named_variables()
    assert len(variables) == 30 and sum(int(np.prod(value.shape)) for value in variables.values()) == 17075009
    assert list(variables)[:2] == ["block1_conv1/kernel", "block1_conv1/bias"]
    assert list(variables)[-4:] == ["dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"]
    assert tuple(vgg16.tower.output.shape) == (None, 4608)
    assert len(vgg16.chain.trainable_variables) == 30


@pytest.mark.parametrize("head, name, deviation", [
    ("tf", "block3_conv1/kernel", np.sqrt(2 / (9 * (128 + 256)))), ("torch", "block3_conv1/kernel",
                                                                    np.sqrt(2 / (9 * 256))),
    ("torch", "dense/kernel", 0.0085), ("torch", "dense_1/kernel", 0.0256), ("torch", "dense/bias", 0.0085),
    ("tf", "dense/bias", 0), ("torch", "block3_conv1/bias", 0), ("tf", "dense/kernel", np.sqrt(2 / (4608 + 512))),
])
def test_first_values(vgg16, head, name, deviation):
    shape = tuple(vgg16.named_variables()[name].shape)
    value = siamese.initial_value(name, shape, "vgg16", head, seed=1)
    assert value.shape == shape and value.std() == pytest.approx(deviation, rel=0.05, abs=1e-9)


def test_conv4_by_hand(conv4):
    """The forward pass in numpy loops over kernel places."""
    drawing = np.random.RandomState(0).randint(0, 256, (1, 105, 105), np.uint8)
    values = {name: np.asarray(value).astype(np.float64) for name, value in conv4.named_variables().items()}
    hidden = (drawing[0] / 255.0).reshape(35, 3, 35, 3).mean(axis=(1, 3))[..., None]
    for number in range(1, 5):
        side = hidden.shape[0]
        padded = np.pad(hidden, ((1, 1), (1, 1), (0, 0)))
        hidden = values[f"conv{number}/bias"] + sum(
            padded[y:y + side, x:x + side] @ values[f"conv{number}/kernel"][y, x] for y in range(3) for x in range(3))
        half = side // 2
        hidden = np.maximum(hidden, 0)[:2 * half, :2 * half].reshape(half, 2, half, 2, -1).max(axis=(1, 3))
    features = conv4.features(tf.constant(drawing)).numpy()[0]
    np.testing.assert_allclose(features, hidden.reshape(-1), rtol=1e-4, atol=1e-5)
    distance = np.abs(hidden.reshape(-1) - 0.1)
    dense = np.maximum(distance @ values["dense/kernel"] + values["dense/bias"], 0)
    logit = (dense @ values["dense_1/kernel"] + values["dense_1/bias"])[0]
    found = conv4.similarity(tf.constant(features[None]), tf.fill((1, 256), 0.1)).numpy()[0]
    assert found == pytest.approx(logit, rel=1e-4)


def test_similarity_is_symmetric(conv4):
    random = np.random.RandomState(0)
    one, other = (tf.constant(random.randint(0, 256, (2, 105, 105), np.uint8)) for _ in range(2))
    np.testing.assert_allclose(conv4.logits(one, other).numpy(), conv4.logits(other, one).numpy(), rtol=1e-5, atol=1e-6)


LOGITS = np.array([-3.0, -0.5, 0.0, 0.5, 4.0, 40.0, -40.0, 0.0], np.float32)
LABELS = np.array([0, 1, 1, 0, 1, 0, 0, 0], np.float32)


@pytest.mark.parametrize("head", ["tf", "torch"])
def test_losses_by_hand(head):
    probabilities = [1 / (1 + np.exp(-float(logit))) for logit in LOGITS]
    if head == "tf":
        probabilities = [min(max(value, 1e-7), 1 - 1e-7) + 0.0 for value in probabilities]
        wanted = [-np.log(value + 1e-7) if label else -np.log(1 - value + 1e-7)
                  for value, label in zip(probabilities, LABELS)]
    else:
        wanted = [np.log1p(np.exp(-abs(float(logit)))) + max(float(logit), 0) - float(logit) * label
                  for logit, label in zip(LOGITS, LABELS)]
    found = siamese.pair_losses(tf.constant(LOGITS), tf.constant(LABELS), head).numpy()
    # float32 has no number between 1 - 1.2e-7 and 1: the loss of a pair that is utterly wrong is that coarse
    np.testing.assert_allclose(found, wanted, rtol=0.05 if head == "tf" else 1e-5, atol=2e-7)
    np.testing.assert_allclose(np.delete(found, 5), np.delete(wanted, 5), rtol=1e-5, atol=3e-7)


def test_a_probability_of_one_half_means_different():
    found = siamese.are_right(tf.constant(LOGITS), tf.constant(LABELS)).numpy()
    assert found.tolist() == [1, 0, 0, 0, 1, 0, 1, 1]


@pytest.mark.parametrize("head, num_zero", [("tf", 1), ("torch", 0)])
def test_saturated_pairs_give_no_gradient_with_the_tf_head(head, num_zero):
    logits = tf.constant([40.0, 1.0])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = siamese.pair_losses(logits, tf.constant([0.0, 0.0]), head)
    assert int(np.sum(tape.gradient(loss, logits).numpy() == 0)) == num_zero


def test_gradient_of_the_network_by_finite_differences(conv4):
    random = np.random.RandomState(1)
    first, second = (tf.constant(random.rand(2, 105, 105, 1).astype(np.float32)) for _ in range(2))
    labels = tf.constant([1.0, 0.0])

    def loss():
        return tf.reduce_mean(siamese.pair_losses(conv4.logits(first, second), labels, "tf"))

    for name in ("conv2/kernel", "dense/kernel", "dense_1/bias"):
        variable = conv4.named_variables()[name]
        value = tf.convert_to_tensor(variable).numpy()
        with tf.GradientTape() as tape:
            found = loss()
        gradient = tape.gradient(found, [variable])[0].numpy()
        direction = gradient / np.linalg.norm(gradient)
        ends = []
        for sign in (1, -1):
            variable.assign(value + sign * 2e-4 * direction)
            ends.append(float(loss()))
        variable.assign(value)
        assert (ends[0] - ends[1]) / 4e-4 == pytest.approx(float((gradient * direction).sum()), rel=0.05, abs=1e-3)


def test_weight_decay_is_added_to_gradients():
    """The first step of Nesterov: velocity = -rate * gradient, step = momentum * velocity - rate * gradient."""
    random = np.random.RandomState(1)
    batch = PairImages(*(random.randint(0, 256, (2, 105, 105), np.uint8) for _ in range(2)),
                       np.array([1.0, 0.0], np.float32))
    changes = []
    for decay in (0.0, 0.5):
        network = siamese.build("conv4", "torch", seed=0)
        optimizer = update.make_optimizer("sgd")
        optimizer.learning_rate = 0.01
        before = {name: np.asarray(value).copy() for name, value in network.named_variables().items()}
        settings = update.UpdateSettings("torch", decay, num_pairs=2, takes_times=False)
        update.Updater(network, optimizer, settings, workers.make(Rank(), "cpu"))(batch)
        changes.append({name: np.asarray(value) - before[name] for name, value in network.named_variables().items()})
    for name, value in before.items():
        np.testing.assert_allclose(changes[1][name] - changes[0][name], -0.01 * 1.9 * 0.5 * value, rtol=1e-3, atol=1e-6)


def test_mixed_precision_updates_float32_weights():
    """As --use_amp has it on a GPU: float16 within the layers, a scaled loss, about the update of float32.

    The images are black and white. Where neighbouring pixels differ by less than float16 tells apart, rounding decides
    which of them pooling takes: updates differ by up to 10 % here, and by 50 % on smooth grey images.
    """
    random = np.random.RandomState(1)
    blots = [gaussian_filter(random.rand(2, 105, 105), (0, 4, 4)) > 0.5 for _ in range(2)]
    batch = PairImages(*(np.uint8(255 * blot) for blot in blots), np.array([1.0, 0.0], np.float32))
    changes = []
    for policy in ("float32", "mixed_float16"):
        tf.keras.mixed_precision.set_global_policy(policy)
        try:
            network = siamese.build("conv4", "tf", seed=0)
            run = types.SimpleNamespace(device=Device("gpu", "0"))
            optimizer = session.scale_losses(update.make_optimizer("sgd"), run, "mixed")
            optimizer.learning_rate = 0.1
            before = {name: np.asarray(value).copy() for name, value in network.named_variables().items()}
            settings = update.UpdateSettings("tf", 0.0, num_pairs=2, takes_times=False)
            update.Updater(network, optimizer, settings, workers.make(Rank(), "cpu"))(batch)
            changes.append({name: np.asarray(value) - before[name]
                            for name, value in network.named_variables().items()})
        finally:
            tf.keras.mixed_precision.set_global_policy("float32")
    for name, change in changes[0].items():
        assert changes[1][name].dtype == np.float32
        assert np.linalg.norm(changes[1][name] - change) <= 0.15 * np.linalg.norm(change) + 1e-7, name


def keras_file(path, network, leave_out=(), nested=False):
    values = {name: np.asarray(value) for name, value in network.named_variables().items()
              if name.split("/")[0] not in leave_out}
    return weight_files.write(path, values, whole_model=nested)


@pytest.mark.parametrize("nested", [False, True])
def test_weights_from_keras_files(tmp_path, conv4, nested):
    other = siamese.build("conv4", "tf", seed=5)
    path = keras_file(str(tmp_path / "w.h5"), conv4, nested=nested)
    assert pretrained.load(other.named_variables(), path) == []
    for name, value in conv4.named_variables().items():
        np.testing.assert_array_equal(np.asarray(other.named_variables()[name]), np.asarray(value))


def test_weights_without_a_head(tmp_path, conv4):
    other = siamese.build("conv4", "tf", seed=5)
    head = np.asarray(other.named_variables()["dense/kernel"]).copy()
    lines = pretrained.load(other.named_variables(), keras_file(str(tmp_path / "w.h5"), conv4, ("dense", "dense_1")))
    assert len(lines) == 1 and "dense/kernel, dense/bias, dense_1/kernel" in lines[0]
    np.testing.assert_array_equal(np.asarray(other.named_variables()["dense/kernel"]), head)
    np.testing.assert_array_equal(np.asarray(other.named_variables()["conv1/kernel"]),
                                  np.asarray(conv4.named_variables()["conv1/kernel"]))


def test_bad_weight_files(tmp_path, conv4):
    variables = conv4.named_variables()
    with pytest.raises(ZooError, match="conv2/kernel is missing"):
        pretrained.load(variables, keras_file(str(tmp_path / "a.h5"), conv4, ("conv2",)))
    wider = siamese.build("vgg16", "tf", 0)
    path = keras_file(str(tmp_path / "b.h5"), conv4)
    with pytest.raises(ZooError, match="block1_conv1/kernel is missing"):
        pretrained.load(wider.named_variables(), path)
    (tmp_path / "c.h5").write_bytes(b"no h5")
    with pytest.raises(ZooError, match="damaged, or not a weights file of Keras"):
        pretrained.load(variables, str(tmp_path / "c.h5"))
    with h5py.File(str(tmp_path / "d.h5"), "w") as file:
        file.create_group("layers")
    with pytest.raises(ZooError, match="has no layer with a name of this network"):
        pretrained.load(variables, str(tmp_path / "d.h5"))
    with pytest.raises(ZooError, match="no such file; get vgg16_weights"):
        pretrained.find("/no/such.h5", "/")
    assert pretrained.find("none", "/") is None and pretrained.find(None, "/") is None
