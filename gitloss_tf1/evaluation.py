"""One evaluation: features of all images, the loss and accuracy of the splits, how the classes lie."""
from __future__ import annotations

import dataclasses
import time
from typing import Any, Callable, Mapping, Sequence

import numpy as np

from common.data.batching import full_batches
from common.graph.compat import tf
from gitloss_tf1.class_statistics import ClassStatistics, SetLoss, class_statistics, set_loss
from gitloss_tf1.mnist import Mnist, Split, preprocess
from gitloss_tf1.model import ForwardGraph
from gitloss_tf1.recipe import Switches

BATCH_SIZE = 125  # one fixed size, because an NPU compiles every shape; needs no more memory than training with 128


@dataclasses.dataclass(frozen=True)
class LossSettings:
    """What the git loss of a set depends on besides the network."""

    batch_size: int  # of training; the statistics' batch means use it too
    lambda_c: float
    lambda_g: float
    switches: Switches

    @classmethod
    def from_arguments(cls, identity: Mapping[str, Any], batch_size: int) -> LossSettings:
        """Return a run's settings, from its arguments; those of the reference recipe for an empty mapping.

        Args:
            identity: the identity part of a run's arguments.
            batch_size: the default batch size.
        """
        names = [field.name for field in dataclasses.fields(Switches)]
        switches = Switches(**{name: identity[name] for name in names if name in identity})
        return cls(identity.get("batch_size", batch_size), identity.get("lambda_c", 1.0), identity.get("lambda_g", 1.0),
                   switches)

    def of(self, features: np.ndarray, logits: np.ndarray, labels: np.ndarray, centers: np.ndarray) -> SetLoss:
        """Loss of a set taken as one batch; arguments as `class_statistics.set_loss`."""
        return set_loss(features, logits, labels, centers, (self.lambda_c, self.lambda_g),
                        (self.switches.center_term, self.switches.pair_term))


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What an evaluation found; `validation` and `test` are None in a speed run."""

    statistics: ClassStatistics
    inter_distance: float  # the recipe's: mean over all evaluations so far, or of this one
    train_features: np.ndarray  # float32 [num, 2]
    validation: SetLoss | None
    test: SetLoss | None
    seconds: float  # of the whole evaluation
    legacy_seconds: float  # what the original calls train_time: of the validation, in a speed run of the feature pass


def forward(session: tf.Session, graph: ForwardGraph, images: np.ndarray, mean_image: np.ndarray,
            check: Callable[[], None] = lambda: None) -> tuple[np.ndarray, np.ndarray]:
    """Run the network over images.

    Args:
        session: holds the weights.
        graph: built with a fixed batch size.
        images: uint8 [num, 28, 28, 1].
        mean_image: float32 [28, 28, 1].
        check: called before every batch; may raise to end early.

    Returns:
        Features float32 [num, 2] and logits float32 [num, 10].
    """
    features, logits = [], []
    for rows in full_batches(len(images), int(graph.images.shape[0])):
        check()
        outputs = session.run(graph.outputs, {graph.images: preprocess(images[rows], mean_image)})
        features.append(outputs.features)
        logits.append(outputs.logits)
    return np.concatenate(features)[:len(images)], np.concatenate(logits)[:len(images)]


def evaluate(session: tf.Session, graph: ForwardGraph, data: Mnist, centers: np.ndarray, settings: LossSettings,
             earlier_inter: Sequence[float], with_splits: bool, check: Callable[[], None] = lambda: None) -> Evaluation:
    """Evaluate the weights in the session; changes nothing in it and draws nothing from the training batches.

    Args:
        session: holds the weights.
        graph: the forward graph.
        data: the data set.
        centers: float32 [10, 2], the trained centers, for the loss.
        settings: the loss's settings.
        earlier_inter: mean distance between centers at each earlier evaluation.
        with_splits: also compute loss and accuracy on the validation and test images.
        check: called before every batch; may raise to end early.
    """
    started = time.perf_counter()
    features, _ = forward(session, graph, data.train.images, data.mean_image, check)
    statistics = class_statistics(features, data.train.labels, settings.batch_size, settings.switches.eval_centers)
    cumulative = settings.switches.inter_cls_dist == "cumulative"
    current = statistics.inter_distance
    distance = float(np.mean([*earlier_inter, current])) if cumulative else current

    def loss_of(split: Split) -> SetLoss:
        split_features, logits = forward(session, graph, split.images, data.mean_image, check)
        return settings.of(split_features, logits, split.labels, centers)

    counted = time.perf_counter()
    validation = loss_of(data.validation) if with_splits else None
    validated = time.perf_counter()
    test = loss_of(data.test) if with_splits else None
    return Evaluation(statistics, distance, features, validation, test, time.perf_counter() - started,
                      validated - counted if with_splits else counted - started)
