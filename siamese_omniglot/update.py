"""One update of the weights, by one worker or several: its learning rate, its images made on the device, its loss."""
from __future__ import annotations

import functools
import math
from typing import Any, Callable, NamedTuple, Sequence

import numpy as np
import tensorflow as tf

from common.keras import compat, workers
from siamese_omniglot.data import augmentation
from siamese_omniglot.data.batches import PairChanges, PairImages
from siamese_omniglot.data.omniglot import SIDE, DrawingStore
from siamese_omniglot.nets import losses
from siamese_omniglot.nets.siamese import Siamese

MOMENTUM = 0.9
_NOMINAL_BATCH = 64
_LOWEST = 0.01  # final learning rate as a share of the first one
_LIMITS = {"sgd": (5e-4, 1e-1), "adam": (3e-4, 1e-3)}
_STEPS = 10


class Outcome(NamedTuple):
    """The results of an update, over the batch of all workers."""

    loss: float  # mean over pairs
    accuracy: float  # share of pairs on the correct side of probability 0.5
    num_stopping: int  # number of workers that were asked to stop
    forward_seconds: float  # times of this worker; NaN if they are not measured
    backward_seconds: float
    update_seconds: float


class UpdateSettings(NamedTuple):
    """Settings of the updates."""

    head: str  # "tf", "torch" or "cosine", the form of the loss
    weight_decay: float  # this multiple of the weights is added to their gradients, as in PyTorch
    num_pairs: int  # in a step, over all workers
    takes_times: bool  # measure the times of the forward pass, the backward pass and the update
    loss: str = "pairs"  # "pairs" or "n_pair", see `Updater`


class Updater:
    """Makes updates.

    A worker's loss is the sum over its pairs divided by the number of pairs of all workers, and gradients are summed
    over the workers. The update is therefore that of one worker with the whole batch.

    With the loss "n_pair", a batch holds only pairs of one character. The first drawing of a pair and the second one of
    the next pair make a pair of two characters, and the N-pair loss, over all first and all second drawings, is added
    to the loss of the pairs. This needs all pairs of a batch, and therefore a single worker.
    """

    def __init__(self, network: Siamese, optimizer: Any, settings: UpdateSettings, team: workers.Workers,
                 make_images: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None):
        """Compile the update.

        Args:
            network: the network, built in the workers' scope.
            optimizer: a Keras optimizer, made in the workers' scope.
            settings: settings of the updates.
            team: the workers of the run.
            make_images: `DeviceDrawings.images`, for batches of type PairChanges; None for PairImages.
        """
        self._network, self._optimizer, self._settings, self._team = network, optimizer, settings, team
        self._make_images = make_images
        with team.scope():
            compat.build_optimizer(optimizer, network.chain.trainable_variables)
        self._run = team.compile(self._update)
        self._run_dumping = team.compile(lambda *batch: self._update(*batch, dumps=True))

    def __call__(self, batch: PairImages | PairChanges, is_stopping: bool = False, dumps: bool = False
                 ) -> tuple[Outcome, dict[str, tf.Tensor]]:
        """Make one update with this worker's part of the batch.

        Args:
            batch: this worker's part.
            is_stopping: whether this worker was asked to stop.
            dumps: return the tensors for a dump.

        Returns:
            The results, and the tensors by name.
        """
        run = self._run_dumping if dumps else self._run
        sums, times, tensors = run(*map(tf.constant, batch), tf.constant(float(is_stopping)))
        loss, right, num_stopping = (float(value) for value in sums.numpy())
        forward, backward, update = (float(value) for value in np.diff(times.numpy()))
        outcome = Outcome(loss, right / self._settings.num_pairs, round(num_stopping), forward,
                          backward, update)
        return outcome, tensors

    def _update(self, first: tf.Tensor, second: tf.Tensor, labels: tf.Tensor, is_stopping: tf.Tensor,
                dumps: bool = False) -> tuple:
        variables = self._network.chain.trainable_variables
        began = self._time([])
        images = self._make_images(first, second) if self._make_images else tf.concat([first, second], 0)
        with tf.GradientTape() as tape:
            features = tf.split(self._network.features(images), 2)
            logits, n_pair_loss = self._network.similarity(*features), 0.0
            if self._settings.loss == "n_pair":
                similarities = self._network.similarities(*features)
                logits, labels = _neighbours(similarities)
                n_pair_loss = losses.n_pair_loss(similarities)
            loss = tf.reduce_sum(losses.pair_losses(logits, labels, self._settings.head)) / self._settings.num_pairs
            minimised = loss + self._decay(variables) + n_pair_loss
        forward = self._time([loss])
        gradients = self._team.gradients(self._optimizer, tape, minimised, variables)
        backward = self._time(gradients)
        if self._settings.takes_times:  # the update may not begin before the time is taken
            with tf.control_dependencies([backward]):
                gradients = [tf.identity(gradient) for gradient in gradients]
        self._team.apply(self._optimizer, gradients, variables)
        sums = self._team.total(tf.stack([loss, tf.reduce_sum(losses.are_right(logits, labels)), is_stopping]))
        updated = [tf.convert_to_tensor(variable) for variable in variables] if self._settings.takes_times else []
        times = tf.stack([began, forward, backward, self._time([sums, *updated])])
        return sums, times, self._dumped(images, labels, logits, gradients) if dumps else {}

    def _decay(self, variables: Sequence[Any]) -> tf.Tensor | float:
        """Return this worker's share of weight_decay / 2 * |weights|^2, whose gradient is weight_decay * weights."""
        if not self._settings.weight_decay:
            return 0.0
        squares = tf.add_n([tf.reduce_sum(tf.square(tf.convert_to_tensor(variable))) for variable in variables])
        return 0.5 * self._settings.weight_decay / self._team.rank.size * squares

    def _dumped(self, images: tf.Tensor, labels: tf.Tensor, logits: tf.Tensor, gradients: Sequence[tf.Tensor]
                ) -> dict[str, tf.Tensor]:
        first, second = tf.split(images, 2)
        return dict(first=first, second=second, labels=labels, logits=logits,
                    **{f"gradient/{name}": gradient
                       for name, gradient in zip(self._network.named_variables(), gradients)})

    def _time(self, after: list) -> tf.Tensor:
        """Return the Unix time in seconds when some tensors have been computed."""
        if not self._settings.takes_times:
            return tf.constant(float("nan"))
        with tf.control_dependencies(after):
            return tf.timestamp()


def _neighbours(similarities: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return logits and labels, float32 [2 num], of the pairs on and right of the diagonal of a [num, num] table."""
    same, others = (tf.linalg.diag_part(table) for table in (similarities, tf.roll(similarities, -1, 1)))
    return tf.concat([same, others], 0), tf.concat([tf.ones_like(same), tf.zeros_like(others)], 0)


def make_optimizer(kind: str) -> Any:
    """Make the optimizer. The learning rate is set at every step; the momentum is Adam's beta_1."""
    if kind == "adam":
        return tf.keras.optimizers.Adam(beta_1=MOMENTUM)
    return tf.keras.optimizers.SGD(momentum=MOMENTUM, nesterov=True)


class Schedule(NamedTuple):
    """A learning rate schedule of the original, by epoch."""

    kind: str  # "cosine" or "step"
    first: float  # learning rate after scaling
    last: float  # final learning rate
    num_epochs: int
    warm_up: float  # epochs

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        if self.kind == "step":
            decay = (self.last / self.first) ** (1.0 / (_STEPS - 1))
            return self.first * decay ** (epoch // (self.num_epochs / _STEPS))
        at_end = min(max(0.05 * self.num_epochs, 1), 15)
        if epoch <= self.warm_up:
            low = max(0.1 * self.first, 1e-6)
            return low + (self.first - low) * (epoch / self.warm_up) ** 2
        if epoch >= self.num_epochs - at_end:
            return self.last
        progress = (epoch - self.warm_up) / (self.num_epochs - self.warm_up - at_end)
        return self.last + 0.5 * (self.first - self.last) * (1.0 + math.cos(math.pi * progress))


def schedule(kind: str, optimizer: str, rate: float, batch_size: int, num_epochs: int, warm_up: float = 0.0
             ) -> Schedule:
    """Make the schedule of a run.

    The rate is multiplied by batch_size / 64 and clamped to [5e-4, 1e-1] (SGD) or [3e-4, 1e-3] (Adam). The final rate
    is a hundredth of the rate before clamping, clamped to a hundredth of these limits.

    Args:
        kind: "cosine" or "step".
        optimizer: "sgd" or "adam".
        rate: learning rate for a batch of 64.
        batch_size: samples in a step.
        num_epochs: number of epochs of the run.
        warm_up: epochs of warm-up; 0 for the original's, a twentieth of the run but at least 1 and at most 3.
    """
    low, high = _LIMITS[optimizer]
    scaled = rate * batch_size / _NOMINAL_BATCH
    return Schedule(kind, min(max(scaled, low), high),
                    min(max(scaled * _LOWEST, low * _LOWEST), high * _LOWEST), num_epochs,
                    warm_up or min(max(0.05 * num_epochs, 1), 3))


class DeviceDrawings:
    """All drawings, and their affine changes.

    An image is the one that `augmentation.change_affinely` makes on the host, bit for bit: coordinates and colours are
    computed in float64, in the same order, and the colours are cut off.
    """

    def __init__(self, store: DrawingStore, compiles: bool):
        """Copy the drawings to the device.

        Args:
            store: the drawings.
            compiles: compile the making of images with XLA. On a CPU this makes it ten times as fast.
        """
        rows = np.pad(store.rows, ((0, 0), (0, -store.rows.shape[1] % 8)))
        self._rows = tf.constant(rows.view(np.int64))  # a type that can be gathered on every device
        self._make = tf.function(functools.partial(_make_images, is_packed=store.is_packed), autograph=False,
                                 jit_compile=compiles)

    def images(self, drawings: tf.Tensor, changes: tf.Tensor) -> tf.Tensor:
        """Within a compiled function: make images, uint8 [num, 105, 105].

        Args:
            drawings: int64 [num], indices.
            changes: float64 [num, 6], see `augmentation.affine_coefficients`; [num, 0] changes nothing.
        """
        return self._make(tf.gather(self._rows, drawings), changes)


def _make_images(rows: tf.Tensor, changes: tf.Tensor, is_packed: bool) -> tf.Tensor:
    """Make images from rows of the store, int64 [num, bytes / 8]."""
    num_bytes = 8 * rows.shape[1]
    rows = tf.reshape(tf.bitcast(rows, tf.uint8), [-1, num_bytes])
    if is_packed:
        bits = tf.bitwise.right_shift(rows[:, :, None], tf.constant(np.arange(7, -1, -1, dtype=np.uint8)))
        rows = tf.reshape(tf.bitwise.bitwise_and(bits, np.uint8(1)), [-1, 8 * num_bytes]) * np.uint8(255)
    drawings = rows[:, :SIDE * SIDE]
    if changes.shape[1]:
        drawings = _changed(tf.cast(drawings, tf.float32), changes)
    return tf.reshape(drawings, [-1, SIDE, SIDE])


def _changed(drawings: tf.Tensor, changes: tf.Tensor) -> tf.Tensor:
    """Change drawings as `augmentation.change_affinely` does: uint8 [num, 105, 105].

    Everything is floating point: TensorFlow computes with int32 on the host even if there is a GPU.

    Args:
        drawings: float32 [num, 105 * 105], colours.
        changes: float64 [num, 6].
    """
    a, b, c, d, e, f = (one[:, None, None] for one in tf.unstack(changes, axis=1))
    centers = tf.constant(np.arange(SIDE) + 0.5)
    x, y = centers[None, None, :], centers[None, :, None]
    source_x, source_y = a * x + b * y + c, d * x + e * y + f
    is_inside = (source_x >= 0.0) & (source_x < SIDE) & (source_y >= 0.0) & (source_y < SIDE)
    source_x, source_y = source_x - 0.5, source_y - 0.5
    left, top = tf.floor(source_x), tf.floor(source_y)
    to_right, to_lower = source_x - left, source_y - top

    def colour(column: tf.Tensor, row: tf.Tensor) -> tf.Tensor:
        place = _within(row) * SIDE + _within(column)
        return tf.cast(tf.gather(drawings, tf.cast(place, tf.int64), batch_dims=1), tf.float64)

    def between(one: tf.Tensor, other: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
        return one + (other - one) * share

    upper = between(colour(left, top), colour(left + 1.0, top), to_right)
    lower = between(colour(left, top + 1.0), colour(left + 1.0, top + 1.0), to_right)
    colours = tf.where(is_inside, between(upper, lower, to_lower), np.float64(augmentation.PAPER))
    return tf.cast(colours, tf.uint8)


def _within(index: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(index, np.float64(0.0), np.float64(SIDE - 1))
