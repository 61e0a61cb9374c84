"""The training graph and the inference graph, on shared variables."""
from __future__ import annotations

from typing import NamedTuple

from common.graph.compat import tf
from gitloss_tf1 import git_loss
from gitloss_tf1.mnist import NUM_CLASSES
from gitloss_tf1.network import FEATURE_DIM, IMAGE_SHAPE, Outputs, network
from gitloss_tf1.recipe import LossSettings

LEARNING_RATE, BETA1, BETA2, EPSILON = 0.001, 0.9, 0.999, 1e-8


class TrainGraph(NamedTuple):
    """Tensors and ops of training."""

    images: tf.Tensor  # float32 [batch, 28, 28, 1]
    labels: tf.Tensor  # int64 [batch]
    outputs: Outputs
    loss: git_loss.GitLoss
    accuracy: tf.Tensor  # float32 []
    center_distances: tf.Tensor  # float32 [batch, 2]
    gradients: list  # pairs (gradient, variable), in the order in which the variables were created
    train_op: tf.Operation  # an Adam step and an update of the centers, both computed from the values before the step
    global_step: tf.Variable  # int32 [], number of updates
    centers: tf.Variable  # float32 [10, 2]


class ForwardGraph(NamedTuple):
    """Tensors of evaluation."""

    images: tf.Tensor  # placeholder, float32 [batch, 28, 28, 1]
    outputs: Outputs
    centers: tf.Variable  # float32 [10, 2]


def build_training(settings: LossSettings, seed: int, batch: tuple[tf.Tensor, tf.Tensor] | None = None) -> TrainGraph:
    """Build the training graph in the default graph; names and order of the variables are the original's.

    Args:
        settings: batch size, weights of the terms and switches.
        seed: of the initial weights.
        batch: images and labels; None for placeholders.
    """
    tf.set_random_seed(seed)
    switches = settings.switches
    if switches.dead_variables:
        _unused("is_training", False, tf.bool)
    global_step = tf.get_variable("global_step", [], tf.int32, tf.zeros_initializer(), trainable=False)
    images, labels = batch or (tf.placeholder(tf.float32, [settings.batch_size, *IMAGE_SHAPE], "train_images"),
                               tf.placeholder(tf.int64, [settings.batch_size], "train_labels"))
    outputs = network(images, seed)
    with tf.variable_scope("loss"):
        centers = _centers()
    with tf.name_scope("git_loss"):
        old_centers = centers.read_value()
        loss = git_loss.git_loss(outputs.features, outputs.logits, labels, old_centers, settings)
    dead_centers = _centers() if switches.dead_variables else None
    distances = git_loss.center_distances(
        outputs.features, labels, dead_centers if switches.distance_centers == "dead" else old_centers)
    accuracy = tf.reduce_mean(tf.cast(tf.equal(tf.argmax(outputs.logits, 1), labels), tf.float32))

    optimizer = tf.train.AdamOptimizer(LEARNING_RATE, BETA1, BETA2, EPSILON)
    gradients = optimizer.compute_gradients(loss.total, tf.trainable_variables())
    adam_op = optimizer.apply_gradients(gradients, global_step)
    # The loss needs the old centers and features, so it comes before both are changed.
    with tf.control_dependencies([loss.total, distances, accuracy]):
        centers_op = git_loss.update_centers(centers, old_centers, outputs.features, labels)
    return TrainGraph(images, labels, outputs, loss, accuracy, distances, gradients,
                      tf.group(adam_op, centers_op, name="train_op"), global_step, centers)


def build_forward(batch_size: int, seed: int, reuse: bool) -> ForwardGraph:
    """Build the inference graph in the default graph; `reuse` takes the variables of a training graph."""
    images = tf.placeholder(tf.float32, [batch_size, *IMAGE_SHAPE], "images")
    with tf.variable_scope(tf.get_variable_scope(), reuse=reuse):
        outputs = network(images, seed)
        with tf.variable_scope("loss"):
            return ForwardGraph(images, outputs, _centers())


def _centers() -> tf.Variable:
    return tf.get_variable("centers", [NUM_CLASSES, FEATURE_DIM], initializer=tf.zeros_initializer(), trainable=False)


def _unused(name: str, value: bool, dtype: tf.DType) -> None:
    tf.get_variable(name, [], dtype, tf.constant_initializer(value), trainable=False)
