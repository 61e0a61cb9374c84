"""Circle loss against recorded numbers of the original.

Five kinds of fixture, told by their keys: the loss and its gradient; ResNet34 with loss, gradients and centers; four
steps of each optimiser on a small least-squares problem; image files and what the network gets of them; LFW's protocol.
"""
from __future__ import annotations

import os
import re
import tempfile

import numpy as np

from circleloss_tf1 import circle_loss, facenet, lfw, model
from circleloss_tf1.face_images import ImageFeed
from circleloss_tf1.recipe import RECIPES, Extras, NetworkSettings
from common.graph.compat import assign, enable, tf
from tests.parity.comparison import Comparison, FixtureError, Taker, load

LOSS, LOSS_GRADIENT = 1e-5, 1e-5
FORWARD, EMBEDDINGS, GRADIENT_NORMS, GRADIENTS = 3e-5, 1e-5, 5e-3, 2e-2
OPTIMISER = 1e-6
DISTANCES = 1e-12
NETWORK = NetworkSettings("models.resnet34", RECIPES["reference"], Extras())
SETTINGS = {"default": model.LossSettings(),
            "reg": model.LossSettings(center_loss_factor=0.01, prelogits_norm_loss_factor=0.001, prelogits_norm_p=2.0)}
# biases before batch normalisation have gradient 0; what is recorded of them is rounding
_NOISE = re.compile(r"conv2d(_\d+)?/bias")


def compare(path: str) -> Comparison:
    """Compare with one fixture."""
    take = Taker(load(path))
    comparison = Comparison()
    enable()
    if "inputs/y_true" in take:
        _compare_loss(take, comparison)
    elif "var_names" in take:
        _compare_network(take, comparison)
    elif any(f"{name}/step1/w" in take for name in facenet.OPTIMIZERS):
        _compare_optimisers(take, comparison)
    elif take.has("file/"):
        _compare_images(take, comparison)
    elif take.ending("/issame"):
        _compare_verification(take, comparison)
    else:
        raise FixtureError("has none of inputs/y_true, var_names, <OPTIMIZER>/step1/w, file/..., <set>/issame")
    take.require_empty()
    return comparison


def _compare_loss(take: Taker, comparison: Comparison) -> None:
    labels, y_true = take("inputs/labels"), take("inputs/y_true")
    if not np.array_equal(np.eye(y_true.shape[1])[labels], y_true):
        raise FixtureError("inputs/y_true are not the one-hot labels")
    inputs = take.below("inputs/")
    similarities = {name: value for name, value in inputs.items() if name not in ("labels", "y_true")}
    cases: dict = {}
    for kind in ("port", "zhen"):
        losses = take.below("port_loss/" if kind == "port" else "zhen/")
        gradients = take.below("port_grad/" if kind == "port" else "zhen_grad_of_mean/")
        if set(losses) != set(gradients):
            raise FixtureError(f"{kind}: losses and gradients of different cases")
        for key, wanted in losses.items():
            match = re.fullmatch(r"(?:(?:CircleLoss|SparseCircleLoss|PairCircleLoss)/)?(\w+)/gamma([\d.]+)_margin"
                                 r"([\d.]+)", key)
            if match is None or match.group(1) not in similarities:
                raise FixtureError(f"unknown key {kind}/{key}")
            case = match.groups()
            if case not in cases:
                cases[case] = _loss(similarities[case[0]], labels, float(case[1]), float(case[2]))
            found, samples, gradient = cases[case]
            found = found if kind == "port" else samples.reshape(np.shape(wanted))
            comparison.relative(f"{kind}_loss", key, found, wanted, LOSS)
            comparison.absolute(f"{kind}_gradient", key, gradient, gradients[key], LOSS_GRADIENT)


def _loss(similarities: np.ndarray, labels: np.ndarray, gamma: float, margin: float) -> tuple:
    """The loss, each sample's loss, and the gradient of the mean."""
    with tf.Graph().as_default(), tf.Session() as session:
        rows = tf.constant(similarities)
        loss = circle_loss.circle_loss(rows, tf.constant(labels), gamma, margin)
        samples = circle_loss.sample_losses(rows, tf.constant(labels), gamma, margin)
        return tuple(session.run([loss, samples, tf.gradients(loss, rows)[0]]))


def _compare_network(take: Taker, comparison: Comparison) -> None:
    images, labels, num_classes = take("inputs/images"), take("inputs/labels"), int(take("inputs/nrof_classes"))
    names, shapes, trainable = (take(f"var_{what}") for what in ("names", "shapes", "trainable"))
    first = take("check/conv2d_kernel_first4")
    settings = sorted({name for name in SETTINGS if f"{name}/prelogits" in take})
    if not settings:
        raise FixtureError(f"has no setting of {', '.join(SETTINGS)}")
    for name in settings:
        with tf.Graph().as_default(), tf.Session() as session:
            graph = model.build_training(model.TrainSettings(len(labels), num_classes, NETWORK, SETTINGS[name],
                                                             facenet.StepSettings("ADAM", 100, 0.1, 0.9999), 666))
            variables = tf.global_variables()[:len(names)]
            for variable, wanted, shape, is_trainable in zip(variables, names, shapes, trainable):
                if (variable.op.name, str(variable.shape.as_list())) != (str(wanted), _as_list(str(shape))):
                    raise FixtureError(f"var_names: {wanted} {shape}, the model has {variable.op.name} "
                                       f"{variable.shape}")
                if bool(is_trainable) != (variable in tf.trainable_variables()):
                    raise FixtureError(f"var_trainable: {wanted}")
            session.run(tf.global_variables_initializer())
            assign(session, {variable: rule(index, variable.op.name, variable.shape.as_list())
                             for index, variable in enumerate(variables[1:], 1)})
            comparison.absolute("rule", "check/conv2d_kernel_first4",
                                rule(1, "conv2d/kernel", [7, 7, 3, 64]).ravel()[:4], first, 1e-7)
            feeds = {graph.images: images, graph.labels: labels, graph.rate: 0.1}
            _compare_outputs(take, comparison, session, graph, feeds, name)
            session.run(graph.train_op, feeds)
            comparison.absolute("centers", f"{name}/centers_after", session.run(graph.centers),
                                take(f"{name}/centers_after"), FORWARD)


def _as_list(shape: str) -> str:
    return str([int(number) for number in re.findall(r"\d+", shape)])


def rule(index: int, name: str, shape: list) -> np.ndarray:
    """Value of a fixture's variable, by its index in the list of all."""
    leaf = name.rsplit("/", maxsplit=1)[-1]
    if leaf in ("gamma", "moving_variance"):
        return np.ones(shape, np.float32)
    if leaf in ("beta", "moving_mean"):
        return np.zeros(shape, np.float32)
    return (np.random.RandomState(1000 + index).randn(*shape) * 0.05).astype(np.float32)


def _compare_outputs(take: Taker, comparison: Comparison, session: tf.Session, graph: model.TrainGraph, feeds: dict,
                     name: str) -> None:
    losses, network = graph.losses, graph.network
    variables = tf.trainable_variables() + [graph.old_centers]
    names = [variable.op.name for variable in tf.trainable_variables()] + ["centers"]
    forward = dict(prelogits=graph.prelogits, logits=graph.head.logits, norm_feat=graph.head.similarities,
                   conv1_out00=network.first_convolution[:, :4, :4, :8],
                   **{f"stage{number}_channel_mean": tf.reduce_mean(stage, [1, 2])
                      for number, stage in enumerate(network.stages)})
    derivatives = dict(dcircle_dprelogits=tf.gradients(losses.circle, graph.prelogits)[0],
                       dcircle_dlogits=tf.gradients(losses.circle, graph.head.logits)[0])
    values, embeddings, terms, by, gradients = session.run(
        [forward, facenet.l2_normalise(graph.prelogits),
         dict(circle_loss=losses.circle, prelogits_norm=losses.prelogits_norm, center_loss=losses.center,
              total_loss=losses.total), derivatives,
         [tf.convert_to_tensor(gradient) for gradient in tf.gradients(losses.total, variables)
          if gradient is not None]], feeds)
    for key, value in values.items():
        comparison.absolute("forward", f"{name}/{key}", value, take(f"{name}/{key}"), FORWARD)
    comparison.absolute("embeddings", f"{name}/embeddings", embeddings, take(f"{name}/embeddings"), EMBEDDINGS)
    for key, value in terms.items():
        comparison.relative("loss", f"{name}/{key}", value, take(f"{name}/{key}"), LOSS)
    for key, value in by.items():
        comparison.absolute("derivatives", f"{name}/{key}", value, take(f"{name}/{key}"), FORWARD)
    _compare_gradients(take, comparison, dict(zip(names, gradients)), name)


def _compare_gradients(take: Taker, comparison: Comparison, found: dict, name: str) -> None:
    names = [str(recorded) for recorded in take(f"{name}/grad_names")]
    norms, sums, firsts = (take(f"{name}/grad_{what}") for what in ("norms", "sums", "first4"))
    full = take.below(f"{name}/grad/")
    if set(names) != set(found) or not set(full) <= set(found):
        raise FixtureError(f"{name}/grad_names: {sorted(set(names) ^ set(found))[:1]} is on one side alone")
    for recorded, norm, total, first in zip(names, norms, sums, firsts):
        gradient = found[recorded].astype(np.float64)
        if _NOISE.fullmatch(recorded):
            comparison.not_compared.append(f"{name}/grad {recorded}")
            continue
        scale = max(float(norm), 1e-6)
        comparison.add("gradient_norms", f"{name} {recorded}", abs(np.linalg.norm(gradient) - norm) / scale,
                       GRADIENT_NORMS)
        # a sum over many elements and single elements, on the scale that their norm gives them
        comparison.add("gradients", f"{name} {recorded} sum",
                       abs(gradient.sum() - total) / (scale * np.sqrt(gradient.size)), GRADIENTS)
        comparison.add("gradients", f"{name} {recorded} first4",
                       float(np.abs(gradient.ravel()[:4] - first).max()) / scale, GRADIENTS)
    for recorded, value in full.items():
        difference = np.linalg.norm(found[recorded].astype(np.float64) - value)
        comparison.add("gradients", f"{name}/grad/{recorded}", difference / max(np.linalg.norm(value), 1e-6), GRADIENTS)


def _compare_optimisers(take: Taker, comparison: Comparison) -> None:
    inputs = {key: take(f"inputs/{key}") for key in ("X", "Y", "W0", "b0")}
    for name in facenet.OPTIMIZERS:
        if f"{name}/step1/w" not in take:
            continue
        with tf.Graph().as_default(), tf.Session() as session:
            global_step = tf.get_variable("Variable", [], tf.int32, tf.zeros_initializer(), trainable=False)
            weights = tf.get_variable("w", initializer=tf.constant(inputs["W0"]))
            bias = tf.get_variable("b", initializer=tf.constant(inputs["b0"]))
            residual = tf.matmul(tf.constant(inputs["X"]), weights) + bias - tf.constant(inputs["Y"])
            loss = tf.reduce_mean(tf.square(residual), name="Mean")
            total = tf.add(loss, 0.01 * tf.reduce_sum(tf.square(weights)), name="total_loss")
            step = facenet.training_step(total, [loss], tf.constant(0.1), global_step,
                                         facenet.StepSettings(name, 2, 0.1, 0.9999))
            session.run(tf.global_variables_initializer())
            number = 1
            while f"{name}/step{number}/w" in take:
                prefix = f"{name}/step{number}/"
                values = session.run([total, step.learning_rate, step.global_step, step.train_op])[:3]
                recorded = take.below(prefix)
                found = {variable.op.name: value for variable, value in
                         zip(tf.global_variables(), session.run(tf.global_variables()))}
                found.update(total_loss=values[0], lr_used=values[1], gs_fetched=values[2])
                if set(found) != set(recorded):
                    raise FixtureError(f"{prefix}: {sorted(set(found) ^ set(recorded))[0]} is on one side alone")
                for key, value in recorded.items():
                    group = "averages" if key.endswith(("/avg", "ExponentialMovingAverage")) else "optimisers"
                    comparison.absolute(group, prefix + key, found[key], value, OPTIMISER)
                number += 1


def _compare_images(take: Taker, comparison: Comparison) -> None:
    contents, outputs, decoded = take.below("file/"), take.below("out/"), take.below("decoded/")
    if set(contents) != set(outputs) or not set(decoded) <= set(contents):
        raise FixtureError("file/ and out/ name different images")
    names = sorted(contents)
    with tempfile.TemporaryDirectory() as folder, tf.Graph().as_default(), tf.Session() as session:
        paths = [os.path.join(folder, f"{number}.jpg").encode() for number in range(len(names))]
        for path, name in zip(paths, names):
            with open(path, "wb") as file:
                file.write(contents[name].tobytes())
        feed = ImageFeed(1, NETWORK)
        feed.start(session, paths)
        for path, name in zip(paths, names):
            comparison.absolute("input", f"out/{name}", feed.next(session)[0], outputs[name], 0.0)
            if name in decoded:
                comparison.absolute("decoded", f"decoded/{name}", feed.decoded(session, path), decoded[name], 0.0)


def _compare_verification(take: Taker, comparison: Comparison) -> None:
    for issame in take.ending("/issame"):
        name = issame[:-len("/issame")]
        embeddings, is_same = take(f"{name}/embeddings"), take(issame)
        for metric, subtract_mean in ((0, False), (0, True), (1, False), (1, True)):
            prefix = f"{name}/metric{metric}_sub{int(subtract_mean)}/"
            recorded = take.below(prefix)
            if not recorded:
                continue
            found = lfw.verify(embeddings, is_same, 10, metric, subtract_mean)
            values = dict(tpr=found.true_positive_rates, fpr=found.false_positive_rates, accuracy=found.accuracies,
                          val=found.val_rates.mean(), val_std=found.val_rates.std(), far=found.val_fars.mean(),
                          distance=found.distances, val_thresholds=found.val_thresholds)
            for key, value in recorded.items():
                if key not in values:
                    raise FixtureError(f"unknown key {prefix}{key}")
                group = "distances" if key == "distance" else "rates"
                comparison.absolute(group, prefix + key, values[key], value, DISTANCES)
