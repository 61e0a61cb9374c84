"""The graphs of training and validation: images, both towers, the response, the loss, the update; response errors."""
from __future__ import annotations

import math
from typing import Any, Callable, NamedTuple

import numpy as np

from common.graph import npu
from common.graph.compat import ResidentArray, tf
from common.seeds import op_seed
from sa_siam_tf1.configuration import CURATED_SIDE, STRIDE, ModelConfig, TrainConfig
from sa_siam_tf1.datasets.dataloader import GRAY_OF_RGB, PADDED_SIDE, TRAIN_SIDE, CropBatch
from sa_siam_tf1.datasets.imdb import IMAGE_SHAPE
from sa_siam_tf1.embeddings import sa_siam
from sa_siam_tf1.embeddings.sa_siam import Features, Normaliser

POSITIVE_RADIUS_PIXELS = 16.0
FAR_PIXELS = 50.0  # distance from the center that counts as a whole error
NUM_THRESHOLDS = 100
_EDGE = 1e-7


class Towers(NamedTuple):
    """The network applied to a batch."""

    exemplars: tf.Tensor  # float32 [batch, side, side, 3], RGB, 0 to 255
    instances: tf.Tensor  # the same
    exemplar_features: Features
    instance_features: Features
    response: tf.Tensor  # float32 [batch, cells, cells], logits
    batch_loss: tf.Tensor  # float32 []


class TrainGraph(NamedTuple):
    """Tensors and ops of training."""

    towers: Towers
    weight_decay: tf.Tensor  # float32 [], depends only on variables
    total_loss: tf.Tensor  # float32 [], batch loss plus weight decay
    learning_rate: tf.Tensor  # placeholder, float32 []
    gradients: list  # pairs (gradient, variable)
    train_op: tf.Operation
    global_step: tf.Variable  # int32 [], updates made
    normalisers: tuple  # of the exemplar tower and of the instance tower


def ground_truth(cells: int) -> np.ndarray:
    """Return 1 where the L1 distance from the center is at most the positive radius, else 0; float32 [cells, cells]."""
    distance = np.abs(np.arange(cells) - (cells - 1) / 2.0)
    return (distance[:, None] + distance[None, :] <= POSITIVE_RADIUS_PIXELS / STRIDE).astype(np.float32)


def class_weights(truth: np.ndarray) -> np.ndarray:
    """Return weights that give positives and negatives half of the loss each; float32 like `truth`."""
    num_positive = truth.sum()
    return np.where(truth == 1, 0.5 / num_positive, 0.5 / (truth.size - num_positive)).astype(np.float32)


def balanced_loss(response: tf.Tensor) -> tf.Tensor:
    """Return the batch mean of the weighted sum over the map of log(1 + exp(-y v)), y = +-1 (SiamFC, equation 4).

    The response is float32 [batch, cells, cells], logits v; the loss float32 [].
    """
    truth = ground_truth(int(response.shape[1]))
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.ones_like(response) * truth, logits=response)
    return tf.reduce_mean(tf.reduce_sum(entropy * class_weights(truth), axis=[1, 2]))


def pair_losses(responses: np.ndarray) -> np.ndarray:
    """Return the loss of each pair, float64 [num], of logits, float32 [num, cells, cells]; see `balanced_loss`."""
    truth = ground_truth(responses.shape[1])
    signed = np.where(truth == 1, -responses, responses).astype(np.float64)
    return (np.logaddexp(0.0, signed) * class_weights(truth)).sum(axis=(1, 2))


def center_errors(responses: np.ndarray) -> dict[str, float]:
    """Return the original's errors: how far responses of centered pairs are from pointing to the center.

    The score error is the share of responses that are negative in the center. The distance error is 1 minus the area
    under the curve of recall over thresholds of closeness, by the trapezoid rule. Closeness is 1 - min(d / (50 / 8), 1)
    for the distance d in cells from the highest response to the center; recall is the share of responses that are
    closer than a threshold.

    Responses are float [num, cells, cells].
    """
    num, cells = responses.shape[:2]
    middle = (cells - 1) // 2
    row, column = np.unravel_index(responses.reshape(num, -1).argmax(axis=1), (cells, cells))
    closeness = 1.0 - np.minimum(np.hypot(row - middle, column - middle) / (FAR_PIXELS / STRIDE), 1.0)
    thresholds = np.linspace(0.0, 1.0, NUM_THRESHOLDS)
    thresholds[0], thresholds[-1] = -_EDGE, 1.0 + _EDGE  # so that the first counts all and the last none
    recall = (closeness[None, :] > thresholds[:, None]).mean(axis=1)
    area = np.sum((recall[1:] + recall[:-1]) / 2.0 * np.diff(thresholds))
    return dict(center_score_error=float((responses[:, middle, middle] < 0).mean()),
                center_dist_error=float(1.0 - area))


def build_training(config: ModelConfig, train: TrainConfig, scales_losses: bool = False,
                   images: tuple[tf.Tensor, tf.Tensor] | None = None) -> TrainGraph:
    """Build the training graph in the default graph.

    `scales_losses` says whether the NPU's adapter scales the loss, see `npu.scale_losses`. `images` are exemplars and
    instances; without them there are placeholders.
    """
    images = images or _placeholders(train.batch_size, TRAIN_SIDE)
    tf.set_random_seed(train.seed)
    exemplar_norm, instance_norm = Normaliser(is_training=True), Normaliser(is_training=True)
    towers = _towers(config, images, (exemplar_norm, instance_norm), train.seed)
    with tf.variable_scope("train"):
        global_step = tf.get_variable("global_step", [], tf.int32, tf.zeros_initializer(), trainable=False)
    decay = tf.add_n([tf.nn.l2_loss(variable) for variable in sa_siam.weight_variables()]) * config.weight_decay
    total_loss = towers.batch_loss + decay
    learning_rate = tf.placeholder(tf.float32, [], "learning_rate")
    optimizer = tf.train.GradientDescentOptimizer(learning_rate) if train.optimizer == "SGD" else \
        tf.train.MomentumOptimizer(learning_rate, train.momentum, use_nesterov=train.use_nesterov)
    if scales_losses:
        optimizer = npu.scale_losses(optimizer)
    gradients = optimizer.compute_gradients(total_loss * train.loss_scale, tf.trainable_variables())
    gradients = [(gradient / train.loss_scale, variable) for gradient, variable in gradients]
    with tf.control_dependencies([total_loss, towers.batch_loss]):  # read before any variable changes
        moving_ops = _moving_updates(exemplar_norm, instance_norm, config.bn_decay)
        apply_op = optimizer.apply_gradients(gradients)
    with tf.control_dependencies([apply_op]):  # a step that loss scaling skips counts too: its batch is used up
        step_op = global_step.assign_add(1)
    return TrainGraph(towers, decay, total_loss, learning_rate, gradients,
                      tf.group(step_op, *moving_ops, name="train_op"), global_step, (exemplar_norm, instance_norm))


def build_validation(config: ModelConfig, batch_size: int, seed: int) -> Towers:
    """Build the validation graph on the variables of a training graph; it updates none of them."""
    with tf.variable_scope(tf.get_variable_scope(), reuse=True):
        images = _placeholders(batch_size, CURATED_SIDE)
        return _towers(config, images, (Normaliser(False), Normaliser(False)), seed)


def _placeholders(batch_size: int, side: int) -> tuple[tf.Tensor, tf.Tensor]:
    shape = [batch_size, side, side, 3]
    return tf.placeholder(tf.float32, shape, "exemplars"), tf.placeholder(tf.float32, shape, "instances")


def _towers(config: ModelConfig, inputs: tuple[tf.Tensor, tf.Tensor], normalisers: tuple[Normaliser, Normaliser],
            seed: int) -> Towers:
    getter = _initial_weights(config.init_method, seed)
    features: list[Features] = []
    for images, normaliser, is_exemplar in zip(inputs, normalisers, (True, False)):
        with tf.variable_scope(tf.get_variable_scope(), reuse=True if features else None, custom_getter=getter):
            of_images: Features = ()
            if config.branch != "semantic":
                of_images += sa_siam.appearance(images, normaliser, is_exemplar)
            if config.branch != "appearance":
                of_images += sa_siam.semantic(images, is_exemplar)
            features.append(of_images)
    with tf.variable_scope("detection"):
        biases = tf.get_variable("biases", [1], initializer=tf.zeros_initializer())
    response = config.response_scale * sa_siam.correlate(*features) + biases
    return Towers(*inputs, features[0], features[1], response, balanced_loss(response))


def _initial_weights(init_method: str, seed: int) -> Callable:
    """Return a variable getter that initialises weights as Glorot (uniform), with the fans of a group's kernel.

    kaiming_normal initialises those of convolutions as He et al. (2015), with variance 2 / fan out. Values beyond two
    deviations are drawn again, which lowers the variance; the factor 1.3 makes up for it, as in the original.
    """
    def get(getter: Callable, name: str, **keywords: Any) -> tf.Variable:
        if name.endswith("/weights"):
            keywords["initializer"] = tf.glorot_uniform_initializer(seed=op_seed(name, seed))
            if init_method == "kaiming_normal" and "/att_fc" not in name:
                height, width, _, channels = keywords["shape"]
                keywords["initializer"] = tf.truncated_normal_initializer(
                    stddev=math.sqrt(1.3 * 2.0 / (height * width * channels)), seed=op_seed(name, seed))
        return getter(name, **keywords)

    return get


def _moving_updates(exemplar: Normaliser, instance: Normaliser, decay: float) -> list[tf.Operation]:
    """Return the updates of the moving statistics: twice a step, by the instances and then by the exemplars."""
    rate = 1.0 - tf.constant(decay)
    ops = []
    for (moving, exemplar_value), (_, instance_value) in zip(exemplar.statistics, instance.statistics):
        value = moving.read_value()
        value -= (value - instance_value) * rate
        value -= (value - exemplar_value) * rate
        ops.append(moving.assign(value))
    return ops


class DeviceImages:
    """The images of a training batch, made on the device from crops of 255 x 255 pixels as they are decoded.

    On a CPU they are those of `dataloader.change`, bit for bit: TensorFlow's resize op computes the same numbers.

    Attributes:
        exemplars: float32 [batch, 239, 239, 3], RGB, 0 to 255.
        instances: the same.
    """

    def __init__(self, batch_size: int, num_kept: int, is_gray_possible: bool):
        """Build the part of the graph in the default graph.

        `num_kept` is the number of crops to keep on the device; 0 feeds the crops of every batch.
        """
        self._kept = ResidentArray("crops", (num_kept, *IMAGE_SHAPE), np.dtype(np.uint8)) if num_kept else None
        # XLA would compile the resize anew for every size
        with tf.name_scope("augmentation"), tf.xla.experimental.jit_scope(compile_ops=False):
            self._changes = tf.placeholder(tf.int32, [2 * batch_size, 3], "changes")
            self._is_gray = tf.placeholder(tf.bool, [2 * batch_size], "is_gray")
            if self._kept:
                self._new = tf.placeholder(tf.float32, [None, None], "new")
                self._slots, self._chosen = (tf.placeholder(tf.int64, [None], name) for name in ("slots", "chosen"))
                with tf.control_dependencies([self._kept.write(self._slots, self._new)]):
                    self._crops = self._kept.gather(self._chosen)
            else:
                self._crops = tf.placeholder(tf.uint8, [2 * batch_size, *IMAGE_SHAPE], "crops")
            crops = tf.reshape(self._crops, [2 * batch_size, *IMAGE_SHAPE])
            if is_gray_possible:
                crops = tf.where(self._is_gray, _gray(crops), tf.cast(crops, tf.float32))
            self.exemplars, self.instances = tf.split(change(crops, self._changes), 2)

    def reserve(self, session: tf.Session) -> bool:
        """Take the memory of the crops to keep; return whether the device has that much."""
        try:
            if self._kept:
                self._kept.clear(session)
        except tf.errors.ResourceExhaustedError:
            self._kept = None  # every batch is fed
        return self._kept is not None

    def feeds(self, batch: CropBatch) -> dict[tf.Tensor, Any]:
        """Return what to feed for a batch."""
        feeds = {self._changes: batch.changes, self._is_gray: batch.is_gray}
        if self._kept:
            feeds.update({self._new: self._kept.stored(batch.crops), self._slots: batch.slots,
                          self._chosen: batch.chosen})
        else:
            feeds[self._crops] = batch.crops
        return feeds


def change(crops: tf.Tensor, changes: tf.Tensor) -> tf.Tensor:
    """Change crops, [num, 255, 255, 3], as `dataloader.change` does: float32 [num, 239, 239, 3]."""
    stretched, offsets = changes[:, :1] * [1, 1], changes[:, 1:]
    missing, excess = tf.maximum(PADDED_SIDE - stretched, 0), tf.maximum(stretched - PADDED_SIDE, 0)
    before = missing // 2
    padding = tf.pad(tf.stack([before, missing - before], axis=2), [[0, 0], [0, 1], [0, 0]])  # no channels
    begin = tf.pad(excess // 2 + offsets, [[0, 0], [0, 1]])
    made = []
    # one image at a time, since a resize op has one size; it is three times as fast on a CPU as gathering neighbours
    for number, crop in enumerate(tf.split(tf.cast(crops, tf.float32), int(crops.shape[0]))):
        resized = tf.image.resize_bilinear(crop, stretched[number])[0]
        made.append(tf.slice(tf.pad(resized, padding[number]), begin[number], [TRAIN_SIDE, TRAIN_SIDE, 3]))
    return tf.stack(made)


def _gray(crops: tf.Tensor) -> tf.Tensor:
    """Do what `dataloader.gray` does: uint8 [num, 255, 255, 3] to float32."""
    values = tf.round(tf.reduce_sum(tf.cast(crops, tf.float64) * GRAY_OF_RGB, axis=3, keepdims=True))
    return tf.tile(tf.cast(values, tf.float32), [1, 1, 1, 3])
