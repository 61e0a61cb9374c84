"""An evaluation: features of all images, loss and accuracy of the splits, class statistics."""
from __future__ import annotations

import time
from typing import Callable, NamedTuple

import numpy as np

from common import console
from common.data.batching import full_batches
from common.graph.compat import tf
from gitloss_tf1.class_statistics import ClassStatistics, SetLoss, class_statistics, set_loss
from gitloss_tf1.mnist import Mnist, Split, preprocess
from gitloss_tf1.model import ForwardGraph
from gitloss_tf1.recipe import LossSettings

BATCH_SIZE = 125  # needs no more memory than training with 128


class Evaluation(NamedTuple):
    """The results of an evaluation; `validation` and `test` are None in a speed run."""

    statistics: ClassStatistics
    centers: np.ndarray  # float32 [10, 2], the trained ones
    train_features: np.ndarray  # float32 [num, 2]
    validation: SetLoss | None
    test: SetLoss | None
    seconds: float  # of the whole evaluation
    legacy_seconds: float  # the original's train_time: of the validation, in a speed run of the features


def forward(session: tf.Session, graph: ForwardGraph, images: np.ndarray, mean_image: np.ndarray,
            check: Callable[[], None] = lambda: None) -> tuple[np.ndarray, np.ndarray]:
    """Run the network over images, uint8 [num, 28, 28, 1], in batches of the graph's size; see `evaluate`.

    Returns:
        Features float32 [num, 2] and logits float32 [num, 10].
    """
    features, logits = [], []
    for rows in console.progress(full_batches(len(images), int(graph.images.shape[0])), "features", "batch"):
        check()
        outputs = session.run(graph.outputs, {graph.images: preprocess(images[rows], mean_image)})
        features.append(outputs.features)
        logits.append(outputs.logits)
    return np.concatenate(features)[:len(images)], np.concatenate(logits)[:len(images)]


def evaluate(session: tf.Session, graph: ForwardGraph, data: Mnist, settings: LossSettings, with_splits: bool,
             check: Callable[[], None] = lambda: None) -> Evaluation:
    """Evaluate the weights in the session; changes none of them and draws no training batch.

    `with_splits` computes loss and accuracy on the validation and test images too. `check` is called before every
    batch; it may raise to end early.
    """
    started = time.perf_counter()
    centers = session.run(graph.centers)
    features, _ = forward(session, graph, data.train.images, data.mean_image, check)
    statistics = class_statistics(features, data.train.labels, settings.batch_size, settings.switches.eval_centers)

    def loss_of(split: Split) -> SetLoss:
        split_features, logits = forward(session, graph, split.images, data.mean_image, check)
        return set_loss(split_features, logits, split.labels, centers, settings)

    described = time.perf_counter()
    validation = loss_of(data.validation) if with_splits else None
    validated = time.perf_counter()
    test = loss_of(data.test) if with_splits else None
    return Evaluation(statistics, centers, features, validation, test, time.perf_counter() - started,
                      validated - described if with_splits else described - started)
