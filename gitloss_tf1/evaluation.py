"""An evaluation: features of all images; in numpy, loss and accuracy of the splits, and class statistics."""
from __future__ import annotations

import time
from typing import Callable, NamedTuple

import numpy as np

from common import console
from common.data.batching import full_batches
from common.graph.compat import tf
from gitloss_tf1.mnist import NUM_CLASSES, Mnist, preprocess
from gitloss_tf1.model import ForwardGraph
from gitloss_tf1.recipe import LossSettings

BATCH_SIZE = 125  # needs no more memory than training with 128


class ClassStatistics(NamedTuple):
    """Centers of the classes in the feature plane, distances between them and within classes."""

    centers: np.ndarray  # float64 [classes, dim]; NaN for a class without samples
    inter_distances: np.ndarray  # float64 [pairs], between centers of different classes, classes in rising order
    intra_distances: np.ndarray  # float64 [classes with samples], mean distance of the samples to their center

    @property
    def intra_distance(self) -> float:
        """Mean of `intra_distances`."""
        return float(self.intra_distances.mean())

    @property
    def inter_distance(self) -> float:
        """Mean of `inter_distances`, 0 with a single class."""
        return float(self.inter_distances.mean()) if len(self.inter_distances) else 0.0

    @property
    def ratio(self) -> float:
        """Distance between classes divided by distance within them; NaN when every class is a point."""
        return self.inter_distance / self.intra_distance if self.intra_distance else float("nan")


class SetLoss(NamedTuple):
    """Terms of the git loss of a set as one batch."""

    softmax: float
    center: float
    pair: float
    total: float
    accuracy: float


class Evaluation(NamedTuple):
    """The results of an evaluation."""

    statistics: ClassStatistics
    centers: np.ndarray  # float32 [10, 2], the trained ones
    train_features: np.ndarray  # float32 [num, 2]
    splits: dict[str, SetLoss]  # of validation and test; empty in a speed run
    seconds: float  # of the whole evaluation
    legacy_seconds: float  # the original's train_time: of the validation, in a speed run of the features


def forward(session: tf.Session, graph: ForwardGraph, images: np.ndarray, mean_image: np.ndarray,
            check: Callable[[], None] = lambda: None) -> tuple[np.ndarray, np.ndarray]:
    """Run the network over images, uint8 [num, 28, 28, 1], in batches of the graph's size; see `evaluate`.

    Return features, float32 [num, 2], and logits, float32 [num, 10].
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
    times = [time.perf_counter()]
    centers = session.run(graph.centers)
    features, _ = forward(session, graph, data.train.images, data.mean_image, check)
    statistics = class_statistics(features, data.train.labels, settings.batch_size, settings.switches.eval_centers)
    times.append(time.perf_counter())
    splits = {}
    for name, split in dict(validation=data.validation, test=data.test).items() if with_splits else ():
        outputs = forward(session, graph, split.images, data.mean_image, check)
        splits[name] = set_loss(*outputs, split.labels, centers, settings)
        times.append(time.perf_counter())
    legacy_seconds = times[2] - times[1] if with_splits else times[1] - times[0]
    return Evaluation(statistics, centers, features, splits, times[-1] - times[0], legacy_seconds)


def class_statistics(features: np.ndarray, labels: np.ndarray, batch_size: int, form: str) -> ClassStatistics:
    """Compute centers, distances between classes and distances within them, for float32 [num, dim] and int64 [num].

    In the form "class_means", centers are the means of all samples of a class. In "batch_means" they are the mean over
    batches of the class means of a batch, as in the original: only full batches are used, and a class has no mean in a
    batch without it.
    """
    # with all samples in one batch, the mean of batch means is the class mean
    batch_size = min(batch_size, len(labels)) if form == "batch_means" else len(labels)
    used = len(labels) // batch_size * batch_size
    features, labels = features[:used], labels[:used]
    centers = _means_of_batch_means(features, labels, batch_size)
    distances = np.sqrt(np.square(features - centers[labels]).sum(axis=1))
    counts = np.bincount(labels, minlength=NUM_CLASSES)
    present = np.flatnonzero(counts)
    intra = np.bincount(labels, distances, NUM_CLASSES)[present] / counts[present]
    first, second = np.triu_indices(len(present), 1)
    inter = np.sqrt(np.square(centers[present[first]] - centers[present[second]]).sum(axis=1))
    return ClassStatistics(centers, inter, intra)


def _means_of_batch_means(features: np.ndarray, labels: np.ndarray, batch_size: int) -> np.ndarray:
    num_batches = len(labels) // batch_size
    cells = np.repeat(np.arange(num_batches), batch_size) * NUM_CLASSES + labels
    size = num_batches * NUM_CLASSES
    counts = np.bincount(cells, minlength=size)
    sums = np.stack([np.bincount(cells, column, size) for column in features.T], axis=1)
    with np.errstate(invalid="ignore"):
        means = (sums / counts[:, None]).reshape(num_batches, NUM_CLASSES, -1)
        has_class = counts.reshape(num_batches, NUM_CLASSES) > 0
        return np.where(has_class[:, :, None], means, 0.0).sum(axis=0) / has_class.sum(axis=0)[:, None]


def set_loss(features: np.ndarray, logits: np.ndarray, labels: np.ndarray, centers: np.ndarray,
             settings: LossSettings) -> SetLoss:
    """Compute the loss of a whole set as one batch, in float64; arguments and terms are those of `git_loss.git_loss`.

    The original needs a [5000, 5000, 2] tensor for its 5,000 validation images; the sum over classes is 5,000 x 10.
    """
    switches = settings.switches
    features, logits, centers = (array.astype(np.float64) for array in (features, logits, centers))
    num = len(labels)
    shifted = logits - logits.max(axis=1, keepdims=True)
    softmax = float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(num), labels]))
    squares = np.square(features[:, None, :] - centers[None, :, :])  # [num, classes, dim]
    own = squares[np.arange(num), labels]  # [num, dim]
    center = float(own.mean()) if switches.center_term == "element" else float(0.5 * own.sum(axis=1).mean())
    own_class = np.eye(len(centers))[labels]
    others = own_class.sum(axis=0) - own_class  # [num, classes]
    if switches.pair_term == "element":
        pair = float((others * (1.0 / (1.0 + squares)).mean(axis=2)).sum() / num ** 2 + 1.0 / num)
    else:
        pair = float((others / (1.0 + squares.sum(axis=2))).sum() / max(num * (num - 1), 1))
    total = softmax + settings.lambda_c * center + settings.lambda_g * pair
    return SetLoss(softmax, center, pair, total, float(np.mean(logits.argmax(axis=1) == labels)))
