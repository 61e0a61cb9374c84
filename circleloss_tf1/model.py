"""The graphs of training, validation and inference, on shared variables."""
from __future__ import annotations

import dataclasses
from typing import Any, Callable, NamedTuple

from circleloss_tf1 import circle_loss, facenet
from circleloss_tf1.facenet import Step, StepSettings
from circleloss_tf1.models import resnet
from circleloss_tf1.recipe import Extras, NetworkSettings
from common.devices.selection import ALONE
from common.graph.compat import tf
from common.graph.workers import Workers
from common.seeds import op_seed

HISTOGRAM_BINS = 1000


@dataclasses.dataclass(frozen=True)
class LossSettings:
    """The loss; fields are also flags."""

    gamma: float = circle_loss.GAMMA
    margin: float = circle_loss.MARGIN
    center_loss_factor: float = 0.0
    center_loss_alfa: float = 0.95  # centers move by 1 - alfa of their distance
    prelogits_norm_loss_factor: float = 0.0
    prelogits_norm_p: float = 1.0


class Losses(NamedTuple):
    """Terms of the loss, float32 []."""

    circle: tf.Tensor
    center: tf.Tensor
    prelogits_norm: tf.Tensor
    regularisation: tf.Tensor  # center term and norm penalty with their weights, and weight decay
    total: tf.Tensor


class Head(NamedTuple):
    """The classifier on top of the network."""

    logits: tf.Tensor  # float32 [batch, classes]; argmax is the class
    similarities: tf.Tensor  # float32 [batch, classes], for the loss


class TrainGraph(NamedTuple):
    """Tensors and ops of training."""

    images: tf.Tensor  # float32 [batch, side, side, 3]
    labels: tf.Tensor  # placeholder, int32 [batch]
    rate: tf.Tensor  # placeholder, float32 []
    network: resnet.Outputs
    prelogits: tf.Tensor  # float32 [batch, dim]
    head: Head
    losses: Losses
    accuracy: tf.Tensor  # float32 []
    centers: tf.Variable  # float32 [classes, dim]
    old_centers: tf.Tensor  # their value before the step
    step: Step
    train_op: tf.Operation  # update of the weights, the centers and the moving statistics
    global_step: tf.Variable  # int32 []
    histogram: tf.Variable  # int32 [1000], stores the epoch's histogram of |prelogits| in checkpoints


class ValidationGraph(NamedTuple):
    """Tensors of validation: those of training, of a network that is not trained."""

    images: tf.Tensor  # placeholder, float32 [batch, side, side, 3]
    labels: tf.Tensor  # placeholder, int32 [batch]
    losses: Losses
    accuracy: tf.Tensor  # float32 []


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """What the training graph depends on."""

    batch_size: int
    num_classes: int
    network: NetworkSettings
    loss: LossSettings
    step: StepSettings
    seed: int  # of the initial weights


def build_training(settings: TrainSettings, images: tf.Tensor | None = None, workers: Workers | None = None
                   ) -> TrainGraph:
    """Build the training graph in the default graph; names and order of the variables are the original's.

    With several workers the placeholders hold this one's part of the batch, and all that follows the prelogits is
    computed for the whole batch, by every worker; the settings are those of all workers together. `images` are float32
    [batch, side, side, 3], None for a placeholder.
    """
    workers = workers or Workers(ALONE, settings.batch_size)
    tf.set_random_seed(settings.seed)
    extras, switches = settings.network.extras, settings.network.switches
    global_step = tf.get_variable("Variable", [], tf.int32, tf.zeros_initializer(), trainable=False)
    images = image_placeholder(len(workers.positions), settings.network) if images is None else images
    own_labels = tf.placeholder(tf.int32, [len(workers.positions)], "labels")
    rate = tf.placeholder(tf.float32, [], "learning_rate")
    outputs = resnet.network(images, settings.network.model_def, settings.seed, switches.batch_norm, workers)
    prelogits = workers.gather(_bottleneck(outputs.prelogits, extras, settings.seed))
    labels = workers.gather(own_labels)
    dropped = _dropout(prelogits, extras.keep_probability, global_step, settings.seed)
    head = build_head(dropped, settings.num_classes, switches.head, settings.seed)
    centers = tf.get_variable("centers", [settings.num_classes, int(prelogits.shape[1])],
                              initializer=tf.zeros_initializer(), trainable=False)
    old_centers = centers.read_value()
    losses = _losses(prelogits, labels, head, old_centers, settings)
    step = facenet.training_step(losses.total, [losses.circle], rate, global_step, settings.step, workers)
    histogram = tf.get_variable("prelogits_histogram", [HISTOGRAM_BINS], tf.int32, tf.zeros_initializer(),
                                trainable=False)
    # the loss needs the old centers, so it comes before they move
    with tf.control_dependencies([losses.total]):
        move = facenet.update_centers(centers, old_centers, prelogits, labels, settings.loss.center_loss_alfa)
    return TrainGraph(images, own_labels, rate, outputs, prelogits, head, losses,
                      accuracy_of(head, labels), centers, old_centers, step,
                      tf.group(step.train_op, move, *outputs.updates, name="train_op"), global_step, histogram)


def build_validation(settings: TrainSettings) -> ValidationGraph:
    """Build the validation graph on the variables of a training graph."""
    network = settings.network
    with tf.name_scope("validation"), tf.variable_scope(tf.get_variable_scope(), reuse=True):
        images = image_placeholder(settings.batch_size, network)
        labels = tf.placeholder(tf.int32, [settings.batch_size], "labels")
        outputs = resnet.network(images, network.model_def, 0, network.switches.batch_norm)
        prelogits = _bottleneck(outputs.prelogits, network.extras, 0)
        head = build_head(prelogits, settings.num_classes, network.switches.head, 0)
        losses = _losses(prelogits, labels, head, tf.get_variable("centers").read_value(), settings)
        return ValidationGraph(images, labels, losses, accuracy_of(head, labels))


def image_placeholder(batch_size: int | None, network: NetworkSettings) -> tf.Tensor:
    """Return the input of a network, float32 [batch, side, side, 3]; None stands for any number of images."""
    return tf.placeholder(tf.float32, [batch_size, network.extras.image_size, network.extras.image_size, 3], "images")


def embed(images: tf.Tensor, network: NetworkSettings, getter: Callable | None = None, reuse: bool = False
          ) -> tf.Tensor:
    """Return embeddings, float32 [batch, dim], L2-normalised, of standardised images, float32 [batch, side, side, 3].

    A custom getter of the variables can be given, such as one of their moving averages; `reuse` takes the variables of
    a training graph.
    """
    with tf.variable_scope(tf.get_variable_scope(), reuse=reuse, custom_getter=getter):
        outputs = resnet.network(images, network.model_def, 0, network.switches.batch_norm)
        return facenet.l2_normalise(_bottleneck(outputs.prelogits, network.extras, 0))


def build_head(prelogits: tf.Tensor, num_classes: int, form: str, seed: int) -> Head:
    """Build the head on prelogits, float32 [batch, dim]; `form` is "logits" or "cosine", see `recipe.Switches`.

    Its variables are dense/kernel [dim, classes] and, for the form "logits", dense/bias.
    """
    with tf.variable_scope("dense"):
        kernel = _kernel([int(prelogits.shape[1]), num_classes], "dense/kernel", seed)
        if form == "cosine":
            cosines = tf.matmul(facenet.l2_normalise(prelogits), facenet.l2_normalise(kernel, axis=0))
            return Head(cosines, cosines)
        bias = tf.get_variable("bias", [num_classes], initializer=tf.zeros_initializer())
        logits = tf.nn.bias_add(tf.matmul(prelogits, kernel), bias)
        return Head(logits, facenet.l2_normalise(logits))


def accuracy_of(head: Head, labels: tf.Tensor) -> tf.Tensor:
    """Return the share of the batch whose largest logit is that of its class, float32 []."""
    return tf.reduce_mean(tf.cast(tf.equal(tf.argmax(head.logits, 1, output_type=tf.int32), labels), tf.float32))


def average_getter(averages: tf.train.ExponentialMovingAverage) -> Callable:
    """Return a custom getter that returns the moving average of every variable that has one."""

    def get(getter: Callable, *arguments: Any, **keywords: Any) -> Any:
        variable = getter(*arguments, **keywords)
        average = averages.average(variable)
        return variable if average is None else average

    return get


def _losses(prelogits: tf.Tensor, labels: tf.Tensor, head: Head, old_centers: tf.Tensor, settings: TrainSettings
            ) -> Losses:
    loss, extras = settings.loss, settings.network.extras
    circle = circle_loss.circle_loss(head.similarities, labels, loss.gamma, loss.margin)
    center = facenet.center_loss(prelogits, labels, old_centers)
    norm = facenet.prelogits_norm(prelogits, loss.prelogits_norm_p)
    regularisation = loss.prelogits_norm_loss_factor * norm + loss.center_loss_factor * center
    if extras.weight_decay:
        kernels = [variable for variable in tf.trainable_variables() if variable.op.name.endswith("/kernel")]
        regularisation += extras.weight_decay * tf.add_n([tf.nn.l2_loss(kernel) for kernel in kernels])
    return Losses(circle, center, norm, regularisation, tf.add(circle, regularisation, name="total_loss"))


def _bottleneck(prelogits: tf.Tensor, extras: Extras, seed: int) -> tf.Tensor:
    """Apply a dense layer to `embedding_size` dimensions, unless the network has that many."""
    if extras.embedding_size in (0, int(prelogits.shape[1])):
        return prelogits
    with tf.variable_scope("bottleneck"):
        kernel = _kernel([int(prelogits.shape[1]), extras.embedding_size], "bottleneck/kernel", seed)
        bias = tf.get_variable("bias", [extras.embedding_size], initializer=tf.zeros_initializer())
        return tf.nn.bias_add(tf.matmul(prelogits, kernel), bias)


def _dropout(prelogits: tf.Tensor, keep_probability: float, global_step: tf.Variable, seed: int) -> tf.Tensor:
    """Drop elements at random; they depend only on seed and step, so a resumed run drops the same ones."""
    if keep_probability == 1.0:
        return prelogits
    with tf.xla.experimental.jit_scope(compile_ops=False):  # XLA draws other numbers
        uniform = tf.random.stateless_uniform(tf.shape(prelogits), tf.stack([op_seed("dropout", seed), global_step]))
    return tf.where(uniform < keep_probability, prelogits / keep_probability, tf.zeros_like(prelogits))


def _kernel(shape: list[int], name: str, seed: int) -> tf.Variable:
    return tf.get_variable("kernel", shape, initializer=tf.glorot_uniform_initializer(seed=op_seed(name, seed)))
