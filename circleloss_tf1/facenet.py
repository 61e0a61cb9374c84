"""Center loss, norm penalty, learning rate, optimisers, moving averages and checkpoints, as in facenet."""
from __future__ import annotations

import math
import os
import time
from typing import Callable, NamedTuple, Sequence

from common import atomic_files, console
from common.checkpoints import bundle
from common.errors import ZooError
from common.graph import npu
from common.graph.compat import tf
from common.graph.workers import Workers

L2_EPSILON = 1e-10
NORM_EPSILON = 1e-4
LOSS_AVERAGE_DECAY = 0.9
OPTIMIZERS: dict[str, Callable] = {
    "ADAGRAD": tf.train.AdagradOptimizer,  # accumulators start at 0.1
    "ADADELTA": lambda rate: tf.train.AdadeltaOptimizer(rate, rho=0.9, epsilon=1e-6),
    "ADAM": lambda rate: tf.train.AdamOptimizer(rate, beta1=0.9, beta2=0.999, epsilon=0.1),
    "RMSPROP": lambda rate: tf.train.RMSPropOptimizer(rate, decay=0.9, momentum=0.9, epsilon=1.0),
    "MOM": lambda rate: tf.train.MomentumOptimizer(rate, 0.9, use_nesterov=True),
    "GD": tf.train.GradientDescentOptimizer,
}


def l2_normalise(rows: tf.Tensor, axis: int = 1) -> tf.Tensor:
    """Return x * rsqrt(max(sum x^2, 1e-10)) along an axis."""
    return rows * tf.rsqrt(tf.maximum(tf.reduce_sum(tf.square(rows), axis=axis, keepdims=True), L2_EPSILON))


def prelogits_norm(prelogits: tf.Tensor, order: float) -> tf.Tensor:
    """Return the batch mean of the p-norm of |prelogits| + 1e-4, float32 []; `order` is p."""
    return tf.reduce_mean(tf.norm(tf.abs(prelogits) + NORM_EPSILON, ord=order, axis=1))


def center_loss(prelogits: tf.Tensor, labels: tf.Tensor, centers: tf.Tensor) -> tf.Tensor:
    """Return the mean over batch * dim elements of (prelogits - center of the class)^2 (Wen et al. 2016), float32 [].

    `prelogits` are float32 [batch, dim], `labels` int [batch], `centers` float32 [classes, dim] before they move.
    """
    return tf.reduce_mean(tf.square(prelogits - tf.gather(centers, labels)))


def update_centers(centers: tf.Variable, old_centers: tf.Tensor, prelogits: tf.Tensor, labels: tf.Tensor, alfa: float
                   ) -> tf.Operation:
    """Return the op that moves centers by (1 - alfa) (old center - prelogits) for each sample of their class.

    Differs from the paper: the sum over the samples of a class is not divided by 1 + their number.
    """
    return tf.scatter_sub(centers, labels, (1.0 - alfa) * (tf.gather(old_centers, labels) - prelogits))


class Step(NamedTuple):
    """Ops and tensors of a training step."""

    train_op: tf.Operation
    gradients: list  # pairs (gradient, variable)
    global_step: tf.Tensor  # int32 [], number of updates including this one; fetch it with train_op
    learning_rate: tf.Tensor  # float32 [], of this step
    averages: tf.train.ExponentialMovingAverage  # of the trainable variables


class StepSettings(NamedTuple):
    """Settings of a training step."""

    optimizer: str  # a key of OPTIMIZERS
    decay_steps: int  # updates between decays of the learning rate
    decay_factor: float
    moving_average_decay: float
    scales_losses: bool = False  # the adapter of an NPU scales the loss


def training_step(total_loss: tf.Tensor, losses: Sequence[tf.Tensor], rate: tf.Tensor, global_step: tf.Variable,
                  settings: StepSettings, workers: Workers | None = None) -> Step:
    """Build an update of all trainable variables.

    Differs from the original, which does not order the moving averages of the weights and the update. Here they use the
    weights and the step number before the update, as the original was observed to do.

    `total_loss`, float32 [], is minimised; of `losses` only moving averages are kept. `rate`, float32 [], is the
    learning rate before its decay. The step adds one to `global_step`. By default there is one worker.
    """
    learning_rate = tf.train.exponential_decay(rate, global_step, settings.decay_steps, settings.decay_factor,
                                               staircase=True)
    loss_averages = tf.train.ExponentialMovingAverage(LOSS_AVERAGE_DECAY, name="avg").apply([*losses, total_loss])
    variables = tf.trainable_variables()
    optimizer = OPTIMIZERS[settings.optimizer](learning_rate)
    if settings.scales_losses:
        optimizer = npu.scale_losses(optimizer, is_distributed=workers is not None and workers.rank.size > 1)
    gradients = optimizer.compute_gradients(total_loss, variables)
    if workers:
        gradients = workers.mean(gradients)
    averages = tf.train.ExponentialMovingAverage(settings.moving_average_decay, num_updates=global_step)
    with tf.control_dependencies([total_loss]):  # nothing changes if computing the loss fails
        averages_op = averages.apply(variables)
    with tf.control_dependencies([averages_op, loss_averages]):
        apply_op = optimizer.apply_gradients(gradients)
    with tf.control_dependencies([apply_op]):  # a step that loss scaling skips counts too: its batch is used up
        step_op = global_step.assign_add(1)
    with tf.control_dependencies([step_op]):
        return Step(tf.group(step_op, name="weights_op"), gradients, global_step.read_value(), learning_rate, averages)


class Schedule:
    """A learning-rate file: lines `epoch: rate`. `#` starts a comment, the rate `-` ends the training."""

    def __init__(self, path: str):
        """Read a file; ZooError if it cannot be read, a line is invalid, or epoch 0 has no rate."""
        try:
            with open(path, encoding="utf-8") as file:
                lines = file.read().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ZooError(f"--learning_rate_schedule_file={path}: cannot be read ({error})") from None
        entries = ((line.partition("#")[0].strip(), f"{path}: line {number}") for number, line in enumerate(lines, 1))
        self._lines = sorted(_parse(entry, where) for entry, where in entries if entry)
        if not self._lines or self._lines[0][0] > 0:
            raise ZooError(f"{path}: no line for epoch 0; begin with `0: 0.1` or another rate")
        if self.rate(0) is None:
            raise ZooError(f"{path}: ends the training at epoch 0; give epoch 0 a rate above 0")

    def rate(self, epoch: int) -> float | None:
        """Return the rate of the last line at or before an epoch; None where training ends."""
        rate = [rate for first, rate in self._lines if first <= epoch][-1]
        return rate if rate > 0.0 else None


def _parse(entry: str, where: str) -> tuple[int, float]:
    epoch, _, rate = entry.partition(":")
    try:
        value = -1.0 if rate.strip() == "-" else float(rate)
        if not math.isfinite(value):
            raise ValueError
        return int(epoch), value
    except ValueError:
        raise ZooError(f"{where} is {entry!r}, expected `epoch: rate`, as in `400: 0.01`, or `epoch: -` to end the "
                       "training") from None


class WeightFiles:
    """The original's checkpoints: only the trainable variables, only the newest checkpoint, the graph once."""

    def __init__(self, session: tf.Session, folder: str, stem: str):
        self._session, self._folder, self._stem = session, folder, stem
        self._saver = tf.train.Saver(tf.trainable_variables(), max_to_keep=None)

    def save(self, epoch: int) -> None:
        """Save `<stem>.ckpt-<epoch>` and remove the one before; epochs count from 1."""
        console.detail("Saving variables")
        started = time.perf_counter()
        name = f"{self._stem}.ckpt-{epoch}"
        bundle.write_atomically(self._folder, name, self._write)
        for other in os.listdir(self._folder):
            if other.startswith(f"{self._stem}.ckpt-") and not other.startswith(f"{name}."):
                os.remove(os.path.join(self._folder, other))
        atomic_files.write_text(os.path.join(self._folder, "checkpoint"),
                                f'model_checkpoint_path: "{name}"\nall_model_checkpoint_paths: "{name}"\n')
        console.detail(f"Variables saved in {time.perf_counter() - started:.2f} seconds")
        graph_path = os.path.join(self._folder, f"{self._stem}.meta")
        if not os.path.exists(graph_path):
            console.detail("Saving metagraph")
            started = time.perf_counter()
            graph = tf.train.export_meta_graph(saver_def=self._saver.saver_def)
            atomic_files.write_bytes(graph_path, graph.SerializeToString())
            console.detail(f"Metagraph saved in {time.perf_counter() - started:.2f} seconds")

    def _write(self, prefix: str) -> None:
        with bundle.writing(prefix, tf.errors):
            self._saver.save(self._session, prefix, write_meta_graph=False, write_state=False)
