"""Git loss against recorded numbers of the original.

Two kinds of fixture: a small batch with variables, everything that one and five training steps make of it; and 640
features with what the original's evaluation makes of them.
"""
from __future__ import annotations

import numpy as np

from common.graph.compat import enable, tf
from gitloss_tf1 import git_loss
from gitloss_tf1.evaluation import class_statistics
from gitloss_tf1.model import TrainGraph, build_training
from gitloss_tf1.recipe import LossSettings
from tests.parity.comparison import Comparison, FixtureError, Taker, load

FORWARD, LOSS, GRADIENT, CENTERS = 1e-5, 1e-5, 1e-4, 1e-5
# A tiny gradient enters Adam as little more than its sign, so a few weights move by up to 2 * 0.001 a step; after five
# steps no tolerance is recorded for the weights, and the losses tell more.
STEP_PERCENTILE, STEP_MAX = 1e-5, 2.1e-3
STEPS5_PERCENTILE, STEPS5_MAX, LOSSES5 = 3e-4, 5 * STEP_MAX, 1e-4


def compare(path: str) -> Comparison:
    """Compare with one fixture."""
    take = Taker(load(path))
    comparison = Comparison()
    if "inputs/images" in take:
        _compare_training(take, comparison)
    elif "inputs/features" in take:
        _compare_evaluation(take, comparison)
    else:
        raise FixtureError("has neither inputs/images nor inputs/features")
    take.require_empty()
    return comparison


def _compare_evaluation(take: Taker, comparison: Comparison) -> None:
    features, labels = take("inputs/features"), take("inputs/labels")
    found = class_statistics(features, labels, int(take("inputs/batch_size")), "batch_means")
    comparison.absolute("centers", "out/centers_mean_of_batch_means", found.centers,
                        take("out/centers_mean_of_batch_means"), 1e-6)
    for key, value in (("intra_per_class", found.intra_distances), ("intra_cls_dist", found.intra_distance),
                       ("inter_pair_distances", found.inter_distances),
                       ("inter_cls_dist_first_eval", found.inter_distance)):
        comparison.absolute("distances", f"out/{key}", value, take(f"out/{key}"), 1e-6)
    means = class_statistics(features, labels, 1, "class_means")
    comparison.absolute("centers", "alt/centers_true_class_mean", means.centers, take("alt/centers_true_class_mean"),
                        1e-6)


def _compare_training(take: Taker, comparison: Comparison) -> None:
    enable()
    images, labels = take("inputs/images"), take("inputs/labels")
    lambda_c, lambda_g = float(take("inputs/lambda_c")), float(take("inputs/lambda_g"))
    take("inputs/seed")
    with tf.Graph().as_default():
        graph = build_training(LossSettings(len(labels), lambda_c, lambda_g), seed=0)
        feeds = {graph.images: images, graph.labels: labels}
        variables = {variable.op.name: variable for variable in tf.global_variables()}
        update = git_loss.update_centers(graph.centers, graph.centers.read_value(), graph.outputs.features,
                                         graph.labels)
        dgit = tf.gradients(graph.loss.git, graph.outputs.features)[0]
        dtotal = tf.gradients(graph.loss.total, graph.outputs.features)[0]
        sample = (git_loss.center_term(graph.outputs.features, graph.labels, graph.centers, "sample"),
                  git_loss.pair_term(graph.outputs.features, graph.labels, graph.centers, "sample"))
        assign = _assignments(take, variables)
        initialise = tf.global_variables_initializer()
        with tf.Session() as session:
            def reset() -> None:
                session.run(initialise)
                session.run([op for op, _, _ in assign], {place: value for _, place, value in assign})

            reset()
            _compare_values(take, comparison, graph, session, feeds, dgit, dtotal, sample)
            session.run(update, feeds)
            comparison.absolute("centers", "out/centers_after_update", session.run(graph.centers),
                                take("out/centers_after_update"), CENTERS)
            for count, after, losses in ((1, "after/", "out/losses_after"), (5, "after5/", "out/losses_after5")):
                reset()
                found = [session.run([graph.loss.total, graph.train_op], feeds)[0] for _ in range(count)]
                if count == 1:
                    comparison.absolute("loss", losses, found, take(losses), LOSS)
                else:
                    comparison.absolute("step5_losses", losses, found, take(losses), LOSSES5)
                _compare_step(take.below(after), comparison, session.run(variables), after)


def _assignments(take: Taker, variables: dict) -> list:
    """An assignment for each recorded variable: (op, placeholder, value)."""
    assign = []
    for name, value in take.below("vars/").items():
        if name not in variables:
            raise FixtureError(f"vars/{name}: the model has no such variable")
        place = tf.placeholder(variables[name].dtype.base_dtype, value.shape)
        assign.append((variables[name].assign(place), place, value))
    if not assign:
        raise FixtureError("has no vars/")
    return assign


def _compare_values(take: Taker, comparison: Comparison, graph: TrainGraph, session: tf.Session, feeds: dict,
                    dgit: tf.Tensor, dtotal: tf.Tensor, sample: tuple) -> None:
    loss = graph.loss
    out, gradients, derivatives, (center, pair) = session.run(
        [dict(forward=dict(features=graph.outputs.features, logits=graph.outputs.logits, accuracy=graph.accuracy,
                           distances_op=graph.center_distances),
              loss=dict(softmax_loss=loss.softmax, center_term=loss.center, pair_term=loss.pair, git_loss=loss.git,
                        total_loss=loss.total)),
         {variable.op.name: gradient for gradient, variable in graph.gradients},
         dict(dtotal_dfeatures=dtotal, dgit_dfeatures=dgit), sample], feeds)
    for group, tolerance in (("forward", FORWARD), ("loss", LOSS)):
        for key, value in out[group].items():
            comparison.absolute(group, f"out/{key}", value, take(f"out/{key}"), tolerance)
    recorded = take.below("grad/")
    if set(recorded) != set(gradients):
        raise FixtureError(f"grad/: {sorted(set(recorded) ^ set(gradients))[0]} is on one side alone")
    for name, value in recorded.items():
        comparison.relative("gradient", f"grad/{name}", gradients[name], value, GRADIENT)
    for key, value in derivatives.items():
        comparison.relative("gradient", f"out/{key}", value, take(f"out/{key}"), GRADIENT)
    # the forms of the corrected recipe
    batch = len(feeds[graph.labels])
    for key, value in (("pair_term_per_pair_offdiag_mean", pair), ("paper_pair_sum", pair * batch * (batch - 1)),
                       ("paper_center_sum", 2.0 * batch * center)):
        if f"alt/{key}" in take:
            comparison.absolute("loss", f"alt/{key}", value, take(f"alt/{key}"), LOSS)
    comparison.not_compared += [f"alt/{key}" for key in take.below("alt/") if key == "pair_term_diffclass_mean"]


def _compare_step(recorded: dict, comparison: Comparison, found: dict, prefix: str) -> None:
    """All variables after one or five steps: counters and centers one by one, weights and slots taken together."""
    if not recorded:
        if prefix == "after/":
            raise FixtureError("has no after/")
        comparison.not_compared.append(prefix)
        return
    if set(recorded) != set(found):
        raise FixtureError(f"{prefix}: {sorted(set(recorded) ^ set(found))[0]} is on one side alone")
    five = prefix == "after5/"
    differences = []
    for name, value in recorded.items():
        if name in ("loss/centers", "centers") and not five:
            comparison.absolute("centers", prefix + name, found[name], value, CENTERS)
        elif value.dtype.kind in "bi":
            comparison.add("step_counters", prefix + name, float(np.any(found[name] != value)), 0.0)
        else:
            differences.append(np.abs(found[name].astype(np.float64) - value).reshape(-1))
    together = np.concatenate(differences)
    group = "step5" if five else "step"
    comparison.add(group, f"{prefix} 99.9th percentile", float(np.percentile(together, 99.9)),
                   STEPS5_PERCENTILE if five else STEP_PERCENTILE)
    comparison.add(f"{group}_max", f"{prefix} maximum", float(together.max()), STEPS5_MAX if five else STEP_MAX)
