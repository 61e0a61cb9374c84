"""Training: what Git loss does in `common.run.loop`, with images that stay on the device."""
from __future__ import annotations

import io
import time
from typing import Any, Mapping

import numpy as np

from common import atomic_files, console
from common.checkpoints import bundle
from common.cli.program import StopRequest
from common.graph.checkpoints import Checkpoints, initialise_from
from common.graph.compat import ResidentArray, tf
from common.graph.session import StepDebugger, session_config
from common.run import loop
from common.run.loop import RunRecord
from common.run.metrics import Curve, format_number, median_step_seconds
from common.run.opening import Run
from gitloss_tf1 import evaluation, log_lines
from gitloss_tf1.mnist import Batches, Mnist, preprocess
from gitloss_tf1.model import ForwardGraph, TrainGraph, build_forward, build_training
from gitloss_tf1.recipe import LossSettings

MEAN_IMAGE = "mean_image.npy"
_MEASURED = ("loss", "accuracy", "softmax_loss", "center_term", "pair_term", "center_distance")  # of a step


def train(settings: LossSettings, data: Mnist, run: Run, stop: StopRequest) -> None:
    """Train to the end of the run, from its newest checkpoint when it has one."""
    with tf.Graph().as_default():
        steps = Steps(settings, data, run)
        forward = build_forward(min(evaluation.BATCH_SIZE, len(data.train.labels)))  # on the variables of `steps`
        with tf.Session(config=session_config(run)) as session:
            checkpoints = Checkpoints(run.folder("ckpt"), session, steps.graph.global_step)
            record = RunRecord(run, stop, checkpoints, tf)
            loop.run(_Task(steps, forward, session, record), record)


class _Task:
    """See `loop.Task`."""

    advice = "try a smaller --lambda_c or --lambda_g, or look for the op with --over_dump"
    curves = {
        "loss": [Curve("step", "loss", "training batch"), Curve("eval", "valid_loss", "validation")],
        "accuracy": [Curve("step", "accuracy", "training batch"), Curve("eval", "valid_accuracy", "validation"),
                     Curve("eval", "test_accuracy", "test")],
        "distance": [Curve("eval", "inter_cls_dist_current", "between classes"),
                     Curve("eval", "intra_cls_dist", "within classes")],
    }

    def __init__(self, steps: Steps, forward: ForwardGraph, session: tf.Session, record: RunRecord):
        self._steps, self._forward, self._session = steps, forward, session
        self._record, self._run = record, record.run
        self._settings, self._data = steps.settings, steps.data
        self._flags, self._performance = self._run.request.flags, self._run.request.performance
        self._num_batches = len(self._data.train.labels) // self._settings.batch_size
        self.steps_per_epoch = max(1, self._num_batches)
        self.steps_per_loop = self._flags.steps_per_loop
        self._last_step: Mapping[str, Any] = {}
        self._step_seconds: list[float] = []  # since the last evaluation

    def start(self, step: int | None) -> int:
        if step is None:
            self._session.run(self._steps.initialise)
            init_checkpoint, graph = bundle.init_prefix(self._flags), self._steps.graph
            if init_checkpoint:
                variables = [*(variable for _, variable in graph.gradients), graph.centers]
                for line in initialise_from(self._session, init_checkpoint, variables):
                    print(line)
        self._steps.load(self._session)
        mean_image = io.BytesIO()
        np.save(mean_image, self._data.mean_image, allow_pickle=False)
        atomic_files.write_bytes(self._run.file(MEAN_IMAGE), mean_image.getvalue())
        return step or 0

    def is_over(self, step: int) -> bool:
        return False

    def step(self, step: int) -> dict[str, Any]:
        return self.steps(step, 1)[0]

    def steps(self, step: int, count: int) -> list[dict[str, Any]]:
        before_last = self._run.request.num_updates - 1
        if step == before_last and not self._performance:
            # as the original: one update before the end, under a name of its own
            self._record.checkpoints.save_as(self._run.folder("ckpt_npu"), "model.ckpt")
        elif step < before_last:
            count = min(count, before_last - step)
        started = time.perf_counter()
        measured = self._steps.run(self._session, step, count)
        seconds = (time.perf_counter() - started) / count
        for values in measured:
            values["center_distance"] = np.linalg.norm(values["center_distance"], axis=1).mean()
        return [dict({name: float(values[name]) for name in _MEASURED}, step_seconds=seconds) for values in measured]

    def evaluation_due(self, step: int) -> bool:
        is_at_interval = step > 0 and (step + 1) % self._flags.update_centers == 0
        return step == self._run.request.num_updates or (is_at_interval and not self._performance)

    def evaluate(self, step: int) -> dict[str, Any]:
        earlier = self._record.evaluations
        result = evaluation.evaluate(self._session, self._forward, self._data, self._settings,
                                     not self._performance, self._record.stop.check)
        distance = result.statistics.inter_distance
        is_cumulative = self._settings.switches.inter_cls_dist == "cumulative"
        distances = [row["inter_cls_dist_current"] for row in earlier] if is_cumulative else []
        is_training_time = self._flags.train_time == "training"
        values: dict[str, Any] = dict(
            printed_step=step + 1, evaluation=len(earlier) + 1, train_loss=self._last_step["loss"],
            train_accuracy=self._last_step["accuracy"], inter_cls_dist=float(np.mean([*distances, distance])),
            inter_cls_dist_current=distance, intra_cls_dist=result.statistics.intra_distance,
            train_time=float(np.median(self._step_seconds)) if is_training_time else result.legacy_seconds,
            evaluation_seconds=result.seconds)
        if not self._performance:
            valid, test = result.splits["validation"], result.splits["test"]
            best = max((row["valid_accuracy"] for row in earlier), default=-1.0)
            values.update(valid_loss=valid.total, valid_accuracy=valid.accuracy, test_loss=test.total,
                          test_accuracy=test.accuracy, best=valid.accuracy > best)
        features = atomic_files.npz(features=result.train_features, labels=self._data.train.labels,
                                    centers=result.centers)
        atomic_files.write_bytes(self._run.file("plots", f"features-{step}.npz"), features)  # see `plots.draw_run`
        return values

    def on_row(self, row: Mapping[str, Any], is_replayed: bool) -> None:
        if row["kind"] == "step":
            self._last_step = row
            self._step_seconds.append(row["step_seconds"])
        elif row["kind"] == "eval":
            self._step_seconds = []
            if not is_replayed:
                for line in log_lines.evaluation_lines(row, len(self._data.train.labels), self._num_batches,
                                                       self._performance):
                    console.detail(line)
                self._write_files()

    def _write_files(self) -> None:
        request = self._run.request
        texts = log_lines.text_files(self._record.evaluations, request.id, request.case_name, self._performance)
        for name, text in texts.items():
            atomic_files.write_text(self._run.file(name), text)

    def finish(self, step: int) -> None:
        last, batch_size = self._record.evaluations[-1], self._settings.batch_size
        result = dict(ActualLoss=f"{last['train_loss']:.4f}")
        if self._flags.train_time == "evaluation":
            mean = float(np.mean([row["train_time"] for row in self._record.evaluations]))
            result.update(ActualFPS=format_number(batch_size / mean, 3), TrainingTime=format_number(mean, 6))
        if self._performance:
            accuracy = last["train_accuracy"]
            result["ActualAcc"] = f"{accuracy:.4f}"
            step_seconds = median_step_seconds(self._run.path)
            epoch_seconds = step_seconds and step_seconds * len(self._data.train.labels) / batch_size
            print(f"Final Performance sec/epoch : {format_number(epoch_seconds, 4)}")
        else:
            accuracy = last["valid_accuracy"]
            result["TrainAccuracy"] = f"{accuracy:.4f}"
        self._write_files()
        print(f"Device ID: {self._run.device.id}")
        print(f"ActualLoss : {last['train_loss']:.4f}")
        self._record.finish(step, accuracy, result)


class Steps:
    """Makes the training steps of a run.

    Batches are fed on an NPU, because it is not known whether its adapter keeps bytes in variables, and where numbers
    are checked, because kept bytes are no numbers. `initialise` gives all variables their first values.
    """

    graph: TrainGraph  # tensors in a loop cannot be fetched

    def __init__(self, settings: LossSettings, data: Mnist, run: Run):
        """Build the training graph in the default graph; with --steps_per_loop above 1, a loop of it."""
        self.settings, self.data = settings, data
        seed, self._is_loop = run.request.flags.seed, run.request.flags.steps_per_loop > 1
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
        self.initialise = tf.global_variables_initializer()

    def load(self, session: tf.Session) -> None:
        """Copy the images to the device."""
        if not self._feeds_images:
            self._images.load(session, self.data.train.images)
            self._labels.load(session, self.data.train.labels)

    def run(self, session: tf.Session, step: int, count: int) -> list[dict[str, Any]]:
        """Make `count` steps, 1 without a loop, after `step` updates.

        Return what is measured of each, by the names of `_MEASURED`: float32 [], [batch, 2] for `center_distance`.
        """
        indices = np.stack([self._batches.indices(step + number) for number in range(count)])
        if self._is_loop:
            columns = self._debugger.run(session, self._fetches, {self._indices: indices}, step + 1)
            return [dict(zip(columns, values)) for values in zip(*columns.values())]
        feeds: dict[tf.Tensor, np.ndarray] = {self._indices: indices[0]}
        if self._feeds_images:
            train = self.data.train
            feeds = {self.graph.images: preprocess(train.images[indices[0]], self.data.mean_image),
                     self.graph.labels: train.labels[indices[0]]}
        return [self._debugger.run(session, self._fetches, feeds, step + 1)]

    def _batch(self, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the images, as `mnist.preprocess` does, and the labels of a batch."""
        images = tf.cast(self._images.gather(indices), tf.float32) * np.float32(1.0 / 255.0) - self.data.mean_image
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
    loss = graph.loss
    return dict(zip(_MEASURED, (loss.total, graph.accuracy, loss.softmax, loss.center, loss.pair,
                                graph.center_distances)))
