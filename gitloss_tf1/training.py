"""The training loop."""
from __future__ import annotations

import dataclasses
import io
import time
from typing import Any

import numpy as np

from common import atomic_files
from common.cli.program import StopRequest
from common.errors import ZooError
from common.graph import checkpoints, debug
from common.graph.compat import tf
from common.graph.session import GraphRun
from common.run import metrics, timing
from gitloss_tf1 import evaluation, log_lines, plots
from gitloss_tf1.evaluation import LossSettings
from gitloss_tf1.mnist import Batches, Mnist, preprocess
from gitloss_tf1.model import build_forward, build_training

MEAN_IMAGE = "mean_image.npy"


@dataclasses.dataclass(frozen=True)
class Config:
    """A training run.

    Attributes:
        case: names the run in the result files.
        settings: batch size, lambdas and switches.
        seed: seed of the weights and of the order of the images.
        num_updates: updates to make.
        eval_interval: an evaluation whenever the printed step, updates + 1, is a multiple of this.
        performance: no validation, one evaluation at the end.
        train_time: what the old keys train_time, TrainingTime and ActualFPS measure: "training", seconds of a training
            step; "evaluation", as the original: seconds of the validation run, in a speed run of the feature pass.
        save_seconds: seconds between checkpoints.
        init_checkpoint: prefix of a checkpoint to take weights from, or None.
    """

    case: metrics.Case
    settings: LossSettings
    seed: int
    num_updates: int
    eval_interval: int
    performance: bool
    train_time: str
    save_seconds: float
    init_checkpoint: str | None


def train_and_evaluate(config: Config, data: Mnist, opened: GraphRun, stop: StopRequest) -> None:
    """Train to the end of the run, from its newest checkpoint when it has one."""
    with tf.Graph().as_default():
        loop = _Loop(config, data, opened)
        with tf.Session(config=opened.session_config) as session, stop.deferred():
            loop.run(session, stop)
            stop.complete()


class _Loop:
    """The loop's graph and its place in the run."""

    def __init__(self, config: Config, data: Mnist, opened: GraphRun):
        self._config = config
        self._data = data
        self._run = opened.run
        settings = config.settings
        self._train = build_training(settings.batch_size, settings.lambda_c, settings.lambda_g, settings.switches,
                                     config.seed)
        dumped = dict(images=self._train.images, labels=self._train.labels, **self._train.outputs._asdict(),
                      **{f"gradient/{variable.op.name}": gradient for gradient, variable in self._train.gradients})
        self._diagnosis = debug.StepDiagnosis(opened.diagnosis, dumped, config.num_updates)
        self._forward = build_forward(min(evaluation.BATCH_SIZE, len(data.train.labels)), config.seed, reuse=True)
        self._fetches = dict(self._train.loss._asdict(), accuracy=self._train.accuracy,
                             center_distances=self._train.center_distances, train_op=self._train.train_op)
        self._batches = Batches(len(data.train.labels), settings.batch_size, config.seed)
        self._initialise = tf.global_variables_initializer()
        self._checkpoints: checkpoints.Checkpoints
        self._report: metrics.Report
        self._saved_at = time.monotonic()

    def run(self, session: tf.Session, stop: StopRequest) -> None:
        """Train, evaluate and save until the updates are made; then finish the run."""
        self._checkpoints = checkpoints.Checkpoints(self._run.folder("ckpt"), session, self._train.global_step)
        updates = self._start(session, stop.started)
        batches_per_epoch = max(1, len(self._data.train.labels) // self._config.settings.batch_size)
        while True:
            if stop.requested:
                self._save(updates)
                stop.check()
            if self._is_evaluation_due(updates):
                self._evaluate(session, updates, stop)
            if updates == self._config.num_updates - 1 and not self._config.performance:
                # where the original saves: one update before the end, under a name of its own
                self._checkpoints.save_as(self._run.folder("ckpt_npu"), "model.ckpt")
            if updates == self._config.num_updates:
                break
            self._step(session, updates)
            updates += 1
            overdue = time.monotonic() - self._saved_at >= self._config.save_seconds
            if overdue or (updates % batches_per_epoch == 0 and not self._config.performance):
                self._save(updates)
        self._save(updates)
        self._finish(updates)

    def _start(self, session: tf.Session, started: float) -> int:
        """Set the variables, and open the report at the step they belong to; return that step."""
        session.run(self._initialise)
        step, notices = self._checkpoints.go_on(self._run.resumed)
        if step is None and self._config.init_checkpoint:
            variables = [variable for _, variable in self._train.gradients] + [self._train.centers]
            notices += checkpoints.initialise_from(session, self._config.init_checkpoint, variables)
        for notice in notices:
            print(notice)
        mean_image = io.BytesIO()
        np.save(mean_image, self._data.mean_image, allow_pickle=False)
        atomic_files.write_bytes(self._run.file(MEAN_IMAGE), mean_image.getvalue())
        self._report = metrics.Report(self._run, step or 0, started)
        return step or 0

    def _step(self, session: tf.Session, updates: int) -> None:
        indices = self._batches.indices(updates)
        timer = timing.StepTimer()
        timer.start()
        feeds = {self._train.images: preprocess(self._data.train.images[indices], self._data.mean_image),
                 self._train.labels: self._data.train.labels[indices]}
        values = self._diagnosis.run(session, self._fetches, feeds, updates + 1)
        seconds = timer.stop()
        if not np.isfinite(values["total"]):
            raise ZooError(f"the loss is {values['total']} at step {updates + 1}: training has diverged; take a "
                           "smaller --lambda_c or --lambda_g, or look for the op with --over_dump")
        distance = float(np.linalg.norm(values["center_distances"], axis=1).mean())
        self._report.step(updates + 1, loss=float(values["total"]), accuracy=float(values["accuracy"]),
                          softmax_loss=float(values["softmax"]), center_term=float(values["center"]),
                          pair_term=float(values["pair"]), center_distance=distance, step_seconds=seconds)

    def _is_evaluation_due(self, updates: int) -> bool:
        at_interval = updates > 0 and (updates + 1) % self._config.eval_interval == 0
        due = updates == self._config.num_updates or (at_interval and not self._config.performance)
        return due and not self._report.evaluated(updates)

    def _evaluate(self, session: tf.Session, updates: int, stop: StopRequest) -> None:
        self._save(updates)
        earlier = self._report.of_kind("eval")
        centers = session.run(self._train.centers)
        result = evaluation.evaluate(session, self._forward, self._data, centers, self._config.settings,
                                     [row["inter_cls_dist_current"] for row in earlier],
                                     not self._config.performance, stop.check)
        steps = self._report.of_kind("step")
        since = [row["step_seconds"] for row in steps if row["step"] > (earlier[-1]["step"] if earlier else 0)]
        row: dict[str, Any] = dict(
            printed_step=updates + 1, evaluation=len(earlier) + 1, train_loss=steps[-1]["loss"],
            train_accuracy=steps[-1]["accuracy"], inter_cls_dist=result.inter_distance,
            inter_cls_dist_current=result.statistics.inter_distance, intra_cls_dist=result.statistics.intra_distance,
            train_time=float(np.median(since)) if self._config.train_time == "training" else result.legacy_seconds,
            evaluation_seconds=result.seconds)
        if result.validation and result.test:
            best = max((row["valid_accuracy"] for row in earlier), default=-1.0)
            row.update(valid_loss=result.validation.total, valid_accuracy=result.validation.accuracy,
                       test_loss=result.test.total, test_accuracy=result.test.accuracy,
                       best=result.validation.accuracy > best)
        plots.draw(self._report.pyplot(), self._run.file("plots", f"features-{updates}.png"),
                          result.train_features, self._data.train.labels, centers,
                          f"after {updates} updates, training images")
        self._report.evaluation(updates, **row)
        num_train = len(self._data.train.labels)
        for line in log_lines.evaluation_lines(row, num_train, num_train // self._config.settings.batch_size,
                                               self._config.performance):
            print(line, flush=True)
        self._write_files()

    def _write_files(self) -> None:
        rows = self._report.of_kind("eval")
        texts = log_lines.text_files(rows, self._run.device_id, self._config.case.name, self._config.performance)
        for name, text in texts.items():
            atomic_files.write_text(self._run.file(name), text)

    def _draw_curves(self) -> None:
        self._report.draw_curves({
            "loss": [("step", "loss", "training batch"), ("eval", "valid_loss", "validation")],
            "accuracy": [("step", "accuracy", "training batch"), ("eval", "valid_accuracy", "validation"),
                         ("eval", "test_accuracy", "test")],
            "distance": [("eval", "inter_cls_dist_current", "between classes"),
                         ("eval", "intra_cls_dist", "within classes")],
        })

    def _save(self, updates: int) -> None:
        self._report.flush()
        best = [row["step"] for row in self._report.of_kind("eval") if row.get("best")]
        self._checkpoints.save(updates, keep=best[-1:])
        self._saved_at = time.monotonic()

    def _finish(self, updates: int) -> None:
        last = self._report.of_kind("eval")[-1]
        result = dict(ActualLoss=f"{last['train_loss']:.4f}")
        if self._config.train_time == "evaluation":
            times = [row["train_time"] for row in self._report.of_kind("eval")]
            mean = sum(times) / len(times)
            result.update(ActualFPS=metrics.number(self._config.settings.batch_size / mean, 3),
                          TrainingTime=metrics.number(mean, 6))
        if self._config.performance:
            accuracy = last["train_accuracy"]
            result["ActualAcc"] = f"{accuracy:.4f}"
            step_seconds = self._report.step_seconds()
            steps_an_epoch = len(self._data.train.labels) / self._config.settings.batch_size
            epoch_seconds = step_seconds and step_seconds * steps_an_epoch
            print(f"Final Performance sec/epoch : {metrics.number(epoch_seconds, 4)}")
        else:
            accuracy = last["valid_accuracy"]
            result["TrainAccuracy"] = f"{accuracy:.4f}"
        self._write_files()
        self._draw_curves()
        print(f"Device ID: {self._run.device_id}")
        print(f"ActualLoss : {last['train_loss']:.4f}")
        self._report.finish(self._config.case, updates, accuracy, self._run.arguments["identity"]["device"], result)
        self._report.close()
