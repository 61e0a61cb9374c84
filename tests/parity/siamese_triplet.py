"""The triplet network against recorded numbers of the original, with weights and images by the rule."""
from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from common.keras.session import tf
from siamese_triplet_tf2 import features, pairs, triplet_loss
from siamese_triplet_tf2.model import EMBEDDING_DIM, Embedding, build_embedding, variable_names
from siamese_triplet_tf2.training import LEARNING_RATE
from tests.parity.comparison import Comparison, FixtureError, Taker, load, load_rule

RULE = load_rule("siamese_triplet")
EMBEDDINGS, LOSS, WEIGHTS = 1e-4, 1e-4, 1e-4
DISTANCES_UNIT, DISTANCES, DISTANCES_AFTER, BATCH_STATISTICS = 1e-3, 1e-4, 2e-3, 1e-3
GRADIENTS, GRADIENTS_SWAPPED = 5e-3, 1e-3
NOISE = 1e-3  # gradients smaller than this share of the global norm are rounding noise
# variables whose gradient is zero in theory: Adam makes steps of the noise
_ZERO = ("dense_2/bias", "batch_normalization_1/beta", "dense_1/bias")


def compare(path: str) -> Comparison:
    """Compare with one fixture: the network's, or the order of the negatives."""
    take = Taker(load(path))
    comparison = Comparison()
    if "unit_emb" in take:
        _compare_network(take, comparison)
    elif "neg10" in take:
        _compare_negatives(take, comparison)
    else:
        raise FixtureError("has neither unit_emb nor neg10")
    for key in comparison.not_compared:
        take(key)
    take.require_empty()
    return comparison


def _compare_negatives(take: Taker, comparison: Comparison) -> None:
    for num_pairs in (10, 320, 6016):
        names = [f"{'LR'[number // num_pairs]}/{number % num_pairs:05d}" for number in pairs.negative_list(num_pairs)]
        if num_pairs < 1000:
            comparison.add("negatives", f"neg{num_pairs}", float(names != list(take(f"neg{num_pairs}"))), 0.0)
        else:
            comparison.add("negatives", f"neg{num_pairs}_first20",
                           float(names[:20] != list(take(f"neg{num_pairs}_first20"))), 0.0)
            digest = hashlib.sha1("\n".join(names).encode("ascii")).hexdigest()
            comparison.add("negatives", f"neg{num_pairs}_sha1", float(digest != str(take(f"neg{num_pairs}_sha1"))), 0.0)
    comparison.not_compared += sorted("omniglot_" + key for key in take.below("omniglot_"))  # of another model


def _compare_network(take: Taker, comparison: Comparison) -> None:
    model = build_embedding("resnet50", seed=0)
    _set_weights(model)
    _compare_weights(take, comparison, model, "before")
    for tag, scale in (("unit", 1.0), ("full255", 255.0)):
        images = RULE.images(scale)
        _compare_forward(take, comparison, model, images, tag)
        _compare_batch_statistics(take, comparison, model, images, tag)
        _set_weights(model, "moving_")  # what the forward pass has moved
    _compare_swapped(take, comparison, model)
    _compare_step(take, comparison, model)
    comparison.not_compared.append("grad_sample_dense2_bias")  # zero in theory, rounding noise in both


def _set_weights(model: Embedding, only: str = "") -> None:
    for number, (name, variable) in enumerate(zip(variable_names(model.whole), model.whole.weights)):
        if only in name:
            variable.assign(RULE.value(number, name, tuple(variable.shape)))


def _embed(model: Embedding, images: list, training: bool) -> tf.Tensor:
    batch = features.preprocess(tf.constant(np.concatenate(images)), "unit")
    return model.whole(batch, training=training)


def _norm(tensor: Any) -> float:
    return float(np.linalg.norm(np.asarray(tensor).astype(np.float64)))


def _measure(embeddings: tf.Tensor) -> tuple[triplet_loss.Distances, tf.Tensor]:
    measured = triplet_loss.distances(*tf.split(embeddings, 3))
    return measured, triplet_loss.triplet_loss(measured)


def _compare_weights(take: Taker, comparison: Comparison, model: Embedding, when: str) -> None:
    names = variable_names(model.whole)
    trainable = [name for name, variable in zip(names, model.whole.weights)
                 if any(variable is other for other in model.tail.trainable_variables)]
    comparison.add("names", "weight_names", float(names != list(take("weight_names"))), 0.0)
    comparison.add("names", "trainable_names", float(trainable != list(take("trainable_names"))), 0.0)
    norms = np.array([_norm(variable) for variable in model.whole.weights])
    recorded = take(f"weight_norms_{when}")
    comparison.add("weights", f"weight_norms_{when}", float((np.abs(norms - recorded) / (recorded + 1e-12)).max()),
                   WEIGHTS)


def _compare_forward(take: Taker, comparison: Comparison, model: Embedding, images: list, tag: str) -> None:
    embeddings = _embed(model, images, training=False)
    found = np.asarray(embeddings).reshape(3, -1, EMBEDDING_DIM)
    difference = np.abs(found - take(f"{tag}_emb")).max()
    comparison.add("embeddings", f"{tag}_emb", difference / (1.0 if tag == "unit" else 255.0), EMBEDDINGS)
    measured, loss = _measure(embeddings)
    tolerance = DISTANCES_UNIT if tag == "unit" else DISTANCES
    for mode in ("None", "False"):
        for key, value in (("ap", measured.positive), ("an", measured.negative)):
            name = f"{tag}_{key}_{mode}"
            comparison.relative(f"distances_{tag}", name, value, take(name), tolerance)
        comparison.relative("loss", f"{tag}_loss_{mode}", loss, take(f"{tag}_loss_{mode}"), LOSS, floor=1.0)


def _compare_batch_statistics(take: Taker, comparison: Comparison, model: Embedding, images: list, tag: str
                              ) -> None:
    """`training=True`: what trains is normalised with the statistics of each tower's batch."""
    towers = [_embed(model, [tower], training=True) for tower in images]
    measured, loss = _measure(tf.concat(towers, 0))
    for key, value in (("ap", measured.positive), ("an", measured.negative), ("loss", loss)):
        comparison.relative("batch_statistics", f"{tag}_{key}_True", value, take(f"{tag}_{key}_True"),
                            BATCH_STATISTICS, floor=1.0)


def _gradients(model: Embedding, images: list) -> tuple[list, tf.Tensor]:
    with tf.GradientTape() as tape:
        _, loss = _measure(_embed(model, images, training=False))
        total = tf.reduce_sum(loss)
    return tape.gradient(total, model.tail.trainable_variables), loss


def _compare_norms(comparison: Comparison, group: str, key: str, found: np.ndarray, recorded: np.ndarray,
                   tolerance: float) -> None:
    telling = recorded > NOISE * np.linalg.norm(recorded)
    comparison.add(group, key, float((np.abs(found - recorded)[telling] / recorded[telling]).max()), tolerance)


def _compare_swapped(take: Taker, comparison: Comparison, model: Embedding) -> None:
    """Positive and negative exchanged, so that the hinge is active."""
    anchor, positive, negative = RULE.images(255.0)
    gradients, loss = _gradients(model, [anchor, negative, positive])
    comparison.relative("loss", "swap255_loss", loss, take("swap255_loss"), LOSS)
    norms = np.array([_norm(gradient) for gradient in gradients])
    _compare_norms(comparison, "gradient_swapped", "swap255_grad_norms", norms, take("swap255_grad_norms"),
                   GRADIENTS_SWAPPED)


def _compare_step(take: Taker, comparison: Comparison, model: Embedding) -> None:
    """One Adam step on the batch of unit scale."""
    images = RULE.images(1.0)
    gradients, loss = _gradients(model, images)
    comparison.relative("loss", "fit_loss", [float(tf.reduce_mean(loss))], take("fit_loss"), LOSS)
    norms = np.array([_norm(gradient) for gradient in gradients])
    _compare_norms(comparison, "gradient", "grad_norms", norms, take("grad_norms"), GRADIENTS)
    variables = model.tail.trainable_variables
    before = [np.asarray(variable) for variable in variables]
    tf.keras.optimizers.Adam(LEARNING_RATE).apply_gradients(zip(gradients, variables))
    deltas = np.array([_norm(np.asarray(variable) - old) for variable, old in zip(variables, before)])
    names = list(take("trainable_names"))
    compared = np.array([name not in _ZERO for name in names])
    _compare_norms(comparison, "step", "delta_norms", deltas[compared], take("delta_norms")[compared], GRADIENTS)
    _compare_weights(take, comparison, model, "after")
    measured, loss = _measure(_embed(model, images, training=False))
    comparison.relative("distances_after", "ap_after", measured.positive, take("ap_after"), DISTANCES_AFTER)
    comparison.relative("distances_after", "an_after", measured.negative, take("an_after"), DISTANCES_AFTER)
    comparison.relative("loss", "fit_val_loss", [float(tf.reduce_mean(loss))], take("fit_val_loss"), LOSS, floor=1.0)
