"""The Omniglot network against recorded numbers of the TensorFlow and the PyTorch original.

A fixture holds what two pairs give with the variables and images of tests/golden/siamese_omniglot/rule.py: features,
logits, loss, gradients and two updates with a learning rate of 1e-4 (with 5e-3 the second one diverges on any stack).
Or it holds facts about the data: the original's order of the drawings.
"""
from __future__ import annotations

import hashlib

import numpy as np

from common.devices.selection import Rank
from common.keras import workers
from common.keras.session import tf
from siamese_omniglot import recipe, update
from siamese_omniglot.data import omniglot
from siamese_omniglot.data.batches import PairImages
from siamese_omniglot.nets import siamese
from tests.parity.comparison import Comparison, FixtureError, Taker, load, load_rule

RULE = load_rule("siamese_omniglot")
FORWARD, LOSS, GRADIENT, STEP = 1e-5, 1e-5, 1e-3, 1e-4
RATE = 1e-4


def compare(path: str) -> Comparison:
    """Compare with one fixture."""
    take = Taker(load(path))
    comparison = Comparison()
    if "names" in take:
        _compare_network(take, comparison)
    elif "omniglot_shuffle100" in take:
        _compare_order(take, comparison)
    else:
        raise FixtureError("has neither names nor omniglot_shuffle100")
    take.require_empty()
    return comparison


def _compare_order(take: Taker, comparison: Comparison) -> None:
    for key in [key for key in ("neg10", "neg320", "neg6016_first20", "neg6016_sha1") if key in take]:
        take(key)
        comparison.not_compared.append(f"{key}: belongs to the triplet model")
    comparison.absolute("order", "omniglot_shuffle100", omniglot.shuffled(100), take("omniglot_shuffle100"), 0.0)
    order = omniglot.shuffled(19280)
    comparison.absolute("order", "omniglot_shuffle19280_first50", order[:50], take("omniglot_shuffle19280_first50"),
                        0.0)
    digest = hashlib.sha1(order.astype(np.int32).tobytes()).hexdigest()
    comparison.absolute("order", "omniglot_shuffle19280_sha1", float(digest != str(take("omniglot_shuffle19280_sha1"))),
                        0.0, 0.0)


def ruled_network(head: str) -> siamese.Siamese:
    """VGG16 with the fixture's variables."""
    network = siamese.build("vgg16", head, seed=0)
    for number, (name, variable) in enumerate(network.named_variables().items()):
        variable.assign(RULE.value(number, name, tuple(variable.shape)))
    return network


def _compare_network(take: Taker, comparison: Comparison) -> None:
    head = "torch" if "logit_with_relu" in take else "tf"
    names = [str(name) for name in take("names")]
    network = ruled_network(head)
    ours = list(network.named_variables())
    if head == "tf" and [name.split(":")[0] for name in names] != ours:
        raise FixtureError(f"names: the model has {ours}")
    first, second, labels = RULE.data()
    labels = labels[:, 0]
    for number, images in ((1, first), (2, second)):
        features = network.features(tf.constant(images)).numpy()
        comparison.relative("features", f"feat{number}", features[:, ::64], take(f"feat{number}"), FORWARD)
        comparison.relative("features", f"feat{number}_full_norm", np.linalg.norm(features, axis=1),
                            take(f"feat{number}_full_norm"), FORWARD)
    logits, loss, gradients = _gradients(network, head, first, second, labels)
    comparison.absolute("logits", "logit", logits[:, None], take("logit"), FORWARD)
    comparison.absolute("logits", "prob", 1 / (1 + np.exp(-logits[:, None])), take("prob"), FORWARD)
    comparison.absolute("loss", "loss", loss, take("loss"), LOSS)
    recorded = np.asarray(take("grad_norms"))
    comparison.relative("gradient", "grad_norms", [np.linalg.norm(gradient) for gradient in gradients], recorded,
                        GRADIENT)
    if head == "torch":
        _compare_relu(take, comparison, first, second, labels)
    _compare_updates(take, comparison, network, head, PairImages(first, second, labels))


def _compare_updates(take: Taker, comparison: Comparison, network: siamese.Siamese, head: str, batch: PairImages
                     ) -> None:
    optimizer = update.make_optimizer("sgd")
    optimizer.learning_rate = RATE
    decay = recipe.TORCH_WEIGHT_DECAY if head == "torch" else 0.0
    updater = update.Updater(network, optimizer, update.UpdateSettings(head, decay, len(batch.labels), True),
                             workers.make(Rank(), "cpu"))
    found = [updater(batch)[0].loss for _ in range(2)]
    comparison.absolute("step", "loss_step2", found[1], take("loss_step2"), STEP)
    norms = [np.linalg.norm(np.asarray(variable)) for variable in network.named_variables().values()]
    comparison.relative("step", "weight_norms_after2", norms, take("weight_norms_after2"), STEP)
    comparison.absolute("step", "loss_step3", updater(batch)[0].loss, take("loss_step3"), STEP)


def _gradients(network: siamese.Siamese, head: str, first: np.ndarray, second: np.ndarray, labels: np.ndarray) -> tuple:
    variables = list(network.named_variables().values())
    with tf.GradientTape() as tape:
        logits = network.logits(tf.constant(first), tf.constant(second))
        loss = tf.reduce_mean(siamese.pair_losses(logits, tf.constant(labels), head))
    return logits.numpy(), float(loss), [np.asarray(gradient) for gradient in tape.gradient(loss, variables)]


def _compare_relu(take: Taker, comparison: Comparison, first: np.ndarray, second: np.ndarray, labels: np.ndarray
                  ) -> None:
    """The PyTorch network with a ReLU in its head, which is the TensorFlow one."""
    logits, loss, _ = _gradients(ruled_network("tf"), "torch", first, second, labels)
    comparison.absolute("logits", "logit_with_relu", logits[:, None], take("logit_with_relu"), FORWARD)
    comparison.absolute("loss", "loss_with_relu", loss, take("loss_with_relu"), LOSS)
