"""Training steps on images that stay on the device; a call of the session makes one or several."""
from __future__ import annotations

from typing import Any, Mapping

import numpy as np

from common.graph.compat import tf
from common.graph.resident import ResidentArray
from common.graph.session import StepDebugger
from common.run.opening import Run
from gitloss_tf1.git_loss import GitLoss
from gitloss_tf1.mnist import Batches, Mnist, preprocess
from gitloss_tf1.model import TrainGraph, build_training
from gitloss_tf1.recipe import LossSettings

_MEASURED = (*GitLoss._fields, "accuracy", "distances")


class Steps:
    """Makes the training steps of a run.

    Batches are fed on an NPU, because it is not known whether its adapter keeps bytes in variables, and where numbers
    are checked, because kept bytes are no numbers.

    Attributes:
        graph: the training graph; tensors in a loop cannot be fetched.
    """

    graph: TrainGraph

    def __init__(self, settings: LossSettings, data: Mnist, run: Run):
        """Build the training graph in the default graph; with --steps_per_loop above 1, a loop of it."""
        seed = run.request.flags.seed
        self._data, self._is_loop = data, run.request.flags.steps_per_loop > 1
        self._feeds_images = run.device.kind == "npu" or run.debug_options.over_dump_path is not None
        self._batches = Batches(len(data.train.labels), settings.batch_size, seed)
        if not self._feeds_images:
            self._images = ResidentArray("train_images", data.train.images.shape, data.train.images.dtype)
            self._labels = ResidentArray("train_labels", data.train.labels.shape, data.train.labels.dtype)
        dumped: dict[str, tf.Tensor] = {}
        if self._is_loop:
            self._indices = tf.placeholder(tf.int32, [None, settings.batch_size], "indices")
            self._fetches: Mapping[str, Any] = self._loop(settings, seed)
        else:
            self._indices = tf.placeholder(tf.int32, [settings.batch_size], "indices")
            batch = None if self._feeds_images else self._batch(self._indices)
            graph = self.graph = build_training(settings, seed, batch)
            self._fetches = dict(_measured(graph), train_op=graph.train_op)
            dumped = dict(images=graph.images, labels=graph.labels, **graph.outputs._asdict(),
                          **{f"gradient/{variable.op.name}": gradient for gradient, variable in graph.gradients})
        self._debugger = StepDebugger(run, dumped)

    def load(self, session: tf.Session) -> None:
        """Copy the images to the device."""
        if not self._feeds_images:
            self._images.load(session, self._data.train.images)
            self._labels.load(session, self._data.train.labels)

    def run(self, session: tf.Session, step: int, count: int) -> list[dict[str, Any]]:
        """Make `count` steps, 1 without a loop, after `step` updates.

        Returns:
            For each step the terms of the loss, `accuracy` and `distances`, by name.
        """
        indices = np.stack([self._batches.indices(step + number) for number in range(count)])
        if self._is_loop:
            columns = self._debugger.run(session, self._fetches, {self._indices: indices}, step + 1)
            return [dict(zip(columns, values)) for values in zip(*columns.values())]
        feeds: dict[tf.Tensor, np.ndarray] = {self._indices: indices[0]}
        if self._feeds_images:
            train = self._data.train
            feeds = {self.graph.images: preprocess(train.images[indices[0]], self._data.mean_image),
                     self.graph.labels: train.labels[indices[0]]}
        return [self._debugger.run(session, self._fetches, feeds, step + 1)]

    def _batch(self, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the images, as `mnist.preprocess` does, and the labels of a batch."""
        images = tf.cast(self._images.gather(indices), tf.float32) * np.float32(1.0 / 255.0) - self._data.mean_image
        return images, self._labels.gather(indices)

    def _loop(self, settings: LossSettings, seed: int) -> dict[str, tf.Tensor]:
        """Build a loop with a step for each row of indices; return the measurements of all steps, stacked."""
        num_steps = tf.shape(self._indices)[0]

        def body(number: tf.Tensor, columns: dict[str, tf.TensorArray]) -> tuple:
            with tf.name_scope(None):  # variables of the optimiser take their names from it
                self.graph = build_training(settings, seed, self._batch(self._indices[number]))
            measured = _measured(self.graph)
            with tf.control_dependencies([self.graph.train_op]):
                return number + 1, {name: column.write(number, measured[name]) for name, column in columns.items()}

        columns = {name: tf.TensorArray(tf.float32, num_steps) for name in _MEASURED}
        _, columns = tf.while_loop(lambda number, _: number < num_steps, body, (0, columns), parallel_iterations=1)
        return {name: column.stack() for name, column in columns.items()}


def _measured(graph: TrainGraph) -> dict[str, tf.Tensor]:
    """Return the tensors named in `_MEASURED`."""
    return dict(zip(_MEASURED, (*graph.loss, graph.accuracy, graph.center_distances)))
