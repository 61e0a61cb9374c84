"""The network of Git loss, three stages of two convolutions, a 2-D feature and ten logits; its graphs.

Layers are plain tf.nn on NHWC images, with the variable names of tf.contrib.slim. Every initialiser gets a seed made
from the variable's full name, so the initial weights depend on the run's seed alone.
"""
from __future__ import annotations

from typing import NamedTuple

from common.graph.compat import tf
from common.seeds import op_seed
from gitloss_tf1 import git_loss
from gitloss_tf1.mnist import NUM_CLASSES, SIDE
from gitloss_tf1.recipe import LossSettings

FEATURE_DIM = 2
IMAGE_SHAPE = (SIDE, SIDE, 1)
STAGE_CHANNELS = (32, 64, 128)
LEARNING_RATE, BETA1, BETA2, EPSILON = 0.001, 0.9, 0.999, 1e-8


class Outputs(NamedTuple):
    """The network's outputs for a batch."""

    features: tf.Tensor  # float32 [batch, 2], before the PReLU; for the git loss and the plots
    logits: tf.Tensor  # float32 [batch, 10]


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


def network(images: tf.Tensor, seed: int) -> Outputs:
    """Build the network; in a scope that reuses, on existing variables. `seed` determines the initial weights.

    The images are float32 [batch, 28, 28, 1], in [0, 1] minus the mean image.
    """
    hidden = images
    for stage, channels in enumerate(STAGE_CHANNELS, 1):
        for layer in (1, 2):
            hidden = tf.nn.relu(conv2d(hidden, channels, f"conv{stage}_{layer}", seed))
        hidden = max_pool(hidden)  # 28 -> 14 -> 7 -> 3
    flat = tf.reshape(hidden, [-1, hidden.shape[1:].num_elements()])  # in NHWC order
    features = dense(flat, FEATURE_DIM, "fc1", seed)
    logits = dense(prelu(features, "PReLU"), NUM_CLASSES, "fc2", seed)
    return Outputs(features, logits)


def conv2d(inputs: tf.Tensor, filters: int, scope: str, seed: int) -> tf.Tensor:
    """Convolve float32 [batch, height, width, channels] with 3 x 3 kernels, stride 1 and SAME padding; add a bias."""
    with tf.variable_scope(scope):
        weights = _weights([3, 3, int(inputs.shape[-1]), filters], seed)
        return _add_bias(tf.nn.conv2d(inputs, weights, strides=[1, 1, 1, 1], padding="SAME"))


def max_pool(inputs: tf.Tensor) -> tf.Tensor:
    """Take the maximum over windows of 2 x 2 that do not overlap; incomplete windows are dropped."""
    return tf.nn.max_pool2d(inputs, ksize=2, strides=2, padding="VALID")


def dense(inputs: tf.Tensor, units: int, scope: str, seed: int) -> tf.Tensor:
    """Return inputs @ weights + biases, float32 [batch, units]."""
    with tf.variable_scope(scope):
        return _add_bias(tf.matmul(inputs, _weights([int(inputs.shape[-1]), units], seed)))


def prelu(inputs: tf.Tensor, scope: str) -> tf.Tensor:
    """Apply a parametric ReLU, relu(x) + alpha * (x - |x|) / 2, with an alpha per channel (He et al. 2015, eq. 1)."""
    with tf.variable_scope(scope):
        alphas = tf.get_variable("alphas", [int(inputs.shape[-1])], initializer=tf.zeros_initializer())
        return tf.nn.relu(inputs) + alphas * (inputs - tf.abs(inputs)) * 0.5


def _weights(shape: list[int], seed: int) -> tf.Variable:
    """Create Glorot uniform weights: limit sqrt(6 / (fan_in + fan_out)); fans include a kernel's receptive field."""
    name = f"{tf.get_variable_scope().name}/weights"
    return tf.get_variable("weights", shape, initializer=tf.glorot_uniform_initializer(seed=op_seed(name, seed)))


def _add_bias(inputs: tf.Tensor) -> tf.Tensor:
    biases = tf.get_variable("biases", [int(inputs.shape[-1])], initializer=tf.zeros_initializer())
    return tf.nn.bias_add(inputs, biases)


def build_training(settings: LossSettings, seed: int, batch: tuple[tf.Tensor, tf.Tensor] | None = None) -> TrainGraph:
    """Build the training graph in the default graph; names and order of the variables are the original's.

    `batch` are images and labels; without it there are placeholders.
    """
    tf.set_random_seed(seed)
    switches = settings.switches
    if switches.dead_variables:
        tf.get_variable("is_training", [], tf.bool, tf.zeros_initializer(), trainable=False)
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


def build_forward(batch_size: int) -> ForwardGraph:
    """Build the inference graph in the default graph, on the variables of a training graph if there is one."""
    images = tf.placeholder(tf.float32, [batch_size, *IMAGE_SHAPE], "images")
    with tf.variable_scope(tf.get_variable_scope(), reuse=tf.AUTO_REUSE):
        outputs = network(images, seed=0)  # which initialises nothing: the variables are trained or restored
        with tf.variable_scope("loss"):
            return ForwardGraph(images, outputs, _centers())


def _centers() -> tf.Variable:
    return tf.get_variable("centers", [NUM_CLASSES, FEATURE_DIM], initializer=tf.zeros_initializer(), trainable=False)
