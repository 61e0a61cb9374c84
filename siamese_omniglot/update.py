"""One update of the weights, by one worker or several, and the original's learning rates."""
from __future__ import annotations

import math
from typing import Any, Callable, NamedTuple, Sequence

from common.keras import session, workers
from common.keras.session import tf
from siamese_omniglot.data.batches import PairChanges, PairImages
from siamese_omniglot.nets import siamese

MOMENTUM = 0.9
_NOMINAL_BATCH = 64
_LOWEST = 0.01  # final learning rate as a share of the first one
_LIMITS = {"sgd": (5e-4, 1e-1), "adam": (3e-4, 1e-3)}  # of the first learning rate
_STEPS = 10  # of the decay "step"


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

    def __init__(self, network: siamese.Siamese, optimizer: Any, settings: UpdateSettings, team: workers.Workers,
                 make_images: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None):
        """Compile the update of a network and an optimizer that were made in the workers' scope.

        `make_images` is `DeviceDrawings.images` for batches of type PairChanges, None for PairImages.
        """
        self._network, self._optimizer, self._settings, self._team = network, optimizer, settings, team
        self._make_images = make_images
        with team.scope():
            session.build_optimizer(optimizer, network.chain.trainable_variables)
        self._run = team.compile(self._update)
        self._run_dumping = team.compile(lambda *batch: self._update(*batch, dumps=True))

    def __call__(self, batch: PairImages | PairChanges, is_stopping: bool = False, dumps: bool = False
                 ) -> tuple[Outcome, dict[str, tf.Tensor]]:
        """Make one update with this worker's part of the batch; return the results, and tensors for a dump, by name.

        `is_stopping` says that this worker was asked to stop.
        """
        run = self._run_dumping if dumps else self._run
        results, tensors = run(*map(tf.constant, batch), tf.constant(float(is_stopping)))
        loss, right, num_stopping, *seconds = results.numpy().tolist()
        return Outcome(loss, right / self._settings.num_pairs, round(num_stopping), *seconds), tensors

    def _update(self, first: tf.Tensor, second: tf.Tensor, labels: tf.Tensor, is_stopping: tf.Tensor,
                dumps: bool = False) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        variables = self._network.chain.trainable_variables
        began = self._time([])
        images = self._make_images(first, second) if self._make_images else tf.concat([first, second], 0)
        with tf.GradientTape() as tape:
            features = tf.split(self._network.features(images), 2)
            logits, n_pair_loss = self._network.similarity(*features), 0.0
            if self._settings.loss == "n_pair":
                similarities = self._network.similarities(*features)
                logits, labels = _neighbours(similarities)
                n_pair_loss = siamese.n_pair_loss(similarities)
            loss = tf.reduce_sum(siamese.pair_losses(logits, labels, self._settings.head)) / self._settings.num_pairs
            minimised = loss + self._decay(variables) + n_pair_loss
        forward = self._time([loss])
        gradients = self._team.gradients(self._optimizer, tape, minimised, variables)
        backward = self._time(gradients)
        if self._settings.takes_times:  # the update may not begin before the time is taken
            with tf.control_dependencies([backward]):
                gradients = [tf.identity(gradient) for gradient in gradients]
        self._team.apply(self._optimizer, gradients, variables)
        sums = self._team.total(tf.stack([loss, tf.reduce_sum(siamese.are_right(logits, labels)), is_stopping]))
        updated = [tf.convert_to_tensor(variable) for variable in variables] if self._settings.takes_times else []
        times = tf.stack([began, forward, backward, self._time([sums, *updated])])
        seconds = tf.cast(times[1:] - times[:-1], tf.float32)
        return tf.concat([sums, seconds], 0), self._dumped(images, labels, logits, gradients) if dumps else {}

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
        return session.Adam(beta_1=MOMENTUM)
    return tf.keras.optimizers.SGD(momentum=MOMENTUM, nesterov=True)


def schedule(kind: str, optimizer: str, rate: float, batch_size: int, num_epochs: int, warm_up: float = 0.0
             ) -> Callable[[int], float]:
    """Return the learning rates of a run by epoch, counted from 0; the kind is "cosine" or "step".

    The rate, for a batch of 64, is multiplied by batch_size / 64 and clamped to [5e-4, 1e-1] (SGD) or [3e-4, 1e-3]
    (Adam). The final rate is a hundredth of the rate before clamping, clamped to a hundredth of these limits. A warm-up
    of 0 takes the original's, a twentieth of the run but at least 1 epoch and at most 3.
    """
    low, high = _LIMITS[optimizer]
    scaled = rate * batch_size / _NOMINAL_BATCH
    first = min(max(scaled, low), high)
    last = min(max(scaled * _LOWEST, low * _LOWEST), high * _LOWEST)
    at_begin = warm_up or min(max(0.05 * num_epochs, 1), 3)
    at_end = min(max(0.05 * num_epochs, 1), 15)

    def cosine(epoch: int) -> float:
        if epoch <= at_begin:
            start = max(0.1 * first, 1e-6)
            return start + (first - start) * (epoch / at_begin) ** 2
        if epoch >= num_epochs - at_end:
            return last
        progress = (epoch - at_begin) / (num_epochs - at_begin - at_end)
        return last + 0.5 * (first - last) * (1.0 + math.cos(math.pi * progress))

    def step(epoch: int) -> float:
        return first * ((last / first) ** (1.0 / (_STEPS - 1))) ** (epoch // (num_epochs / _STEPS))

    return cosine if kind == "cosine" else step
