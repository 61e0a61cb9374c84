"""Training: what Git loss does in `common.run.loop`."""
from __future__ import annotations

import io
import time
from typing import Any, Mapping, NamedTuple

import numpy as np

from common import atomic_files, console
from common.cli.program import StopRequest
from common.graph.checkpoints import Checkpoints, initialise_from
from common.graph.compat import tf
from common.graph.session import open_session
from common.run import loop
from common.run.loop import RunRecord
from common.run.metrics import Curve, format_number, median_step_seconds
from common.run.opening import Run
from gitloss_tf1 import evaluation, log_lines
from gitloss_tf1.mnist import Mnist
from gitloss_tf1.model import ForwardGraph, build_forward
from gitloss_tf1.recipe import LossSettings
from gitloss_tf1.steps import Steps

MEAN_IMAGE = "mean_image.npy"
ADVICE = "try a smaller --lambda_c or --lambda_g, or look for the op with --over_dump"
CURVES = {
    "loss": [Curve("step", "loss", "training batch"), Curve("eval", "valid_loss", "validation")],
    "accuracy": [Curve("step", "accuracy", "training batch"), Curve("eval", "valid_accuracy", "validation"),
                 Curve("eval", "test_accuracy", "test")],
    "distance": [Curve("eval", "inter_cls_dist_current", "between classes"),
                 Curve("eval", "intra_cls_dist", "within classes")],
}


class _Graphs(NamedTuple):
    steps: Steps
    forward: ForwardGraph  # of evaluation, on the variables of `steps`
    initialise: tf.Operation


def train(settings: LossSettings, init_checkpoint: str | None, data: Mnist, run: Run, stop: StopRequest) -> None:
    """Train to the end of the run, from its newest checkpoint when it has one.

    A new run takes its first weights from the checkpoint with the prefix `init_checkpoint`, if it is given.
    """
    with tf.Graph().as_default():
        steps = Steps(settings, data, run)
        graphs = _Graphs(steps, build_forward(min(evaluation.BATCH_SIZE, len(data.train.labels))),
                         tf.global_variables_initializer())
        with open_session(run) as session:
            checkpoints = Checkpoints(run.folder("ckpt"), session, steps.graph.global_step)
            record = RunRecord(run, stop, checkpoints, tf)
            loop.run(_Task(settings, init_checkpoint, data, graphs, session, record), record)


class _Task:
    """See `loop.Task`."""

    advice = ADVICE
    curves = CURVES

    def __init__(self, settings: LossSettings, init_checkpoint: str | None, data: Mnist, graphs: _Graphs,
                 session: tf.Session, record: RunRecord):
        self._settings, self._init_checkpoint, self._data = settings, init_checkpoint, data
        self._graphs, self._session, self._record, self._run = graphs, session, record, record.run
        self._flags, self._performance = self._run.request.flags, self._run.request.performance
        self._num_batches = len(data.train.labels) // settings.batch_size
        self.steps_per_epoch = max(1, self._num_batches)
        self.steps_per_loop = self._flags.steps_per_loop
        self._last_step: Mapping[str, Any] = {}
        self._step_seconds: list[float] = []  # since the last evaluation

    def start(self, step: int | None) -> int:
        if step is None:
            self._session.run(self._graphs.initialise)
            if self._init_checkpoint:
                graph = self._graphs.steps.graph
                variables = [*(variable for _, variable in graph.gradients), graph.centers]
                for line in initialise_from(self._session, self._init_checkpoint, variables):
                    print(line)
        self._graphs.steps.load(self._session)
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
        measured = self._graphs.steps.run(self._session, step, count)
        seconds = (time.perf_counter() - started) / count
        return [dict(loss=float(values["total"]), accuracy=float(values["accuracy"]),
                     softmax_loss=float(values["softmax"]), center_term=float(values["center"]),
                     pair_term=float(values["pair"]),
                     center_distance=float(np.linalg.norm(values["distances"], axis=1).mean()), step_seconds=seconds)
                for values in measured]

    def evaluation_due(self, step: int) -> bool:
        is_at_interval = step > 0 and (step + 1) % self._flags.update_centers == 0
        return step == self._run.request.num_updates or (is_at_interval and not self._performance)

    def evaluate(self, step: int) -> dict[str, Any]:
        earlier = self._record.evaluations
        result = evaluation.evaluate(self._session, self._graphs.forward, self._data, self._settings,
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
        if result.validation and result.test:
            best = max((row["valid_accuracy"] for row in earlier), default=-1.0)
            values.update(valid_loss=result.validation.total, valid_accuracy=result.validation.accuracy,
                          test_loss=result.test.total, test_accuracy=result.test.accuracy,
                          best=result.validation.accuracy > best)
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
