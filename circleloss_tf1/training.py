"""The training loop."""
from __future__ import annotations

import dataclasses
import itertools
import time
from typing import Any

import numpy as np

from circleloss_tf1 import evaluation, facenet, lfw, log_lines, model, original_files
from circleloss_tf1.epoch_batches import EpochBatches
from circleloss_tf1.evaluation import Embedder, LfwSettings
from circleloss_tf1.face_images import ImageFeed
from circleloss_tf1.faces import Faces, Sampler, Split
from circleloss_tf1.lfw import Pairs
from common import atomic_files
from common.cli.program import StopRequest
from common.errors import ZooError
from common.graph import checkpoints, debug
from common.graph.compat import tf
from common.graph.session import GraphRun
from common.run import metrics, timing


@dataclasses.dataclass(frozen=True)
class Config:
    """A training run.

    Attributes:
        case: names the run in the result files.
        graph: what the training graph is made with.
        lfw: how LFW is run.
        learning_rate: rate before its decay, or None to take it from `schedule`.
        schedule: the learning-rate file, or None.
        num_updates: updates to make.
        epoch_size: updates in an epoch.
        validate_every: epochs between validations.
        sampling: see `faces.Sampler`.
        skip_bad_images: take another image in place of one that cannot be read.
        use_averages: run LFW with the moving averages of the weights.
        threads: images decoded at a time.
        performance: no evaluation.
        histogram_max: largest |prelogits| of the histogram in stat.h5; larger ones count as this.
        save_seconds: seconds between checkpoints.
        init_checkpoint: prefix of a checkpoint to take weights from, or None.
    """

    case: metrics.Case
    graph: model.TrainSettings
    lfw: LfwSettings
    learning_rate: float | None
    schedule: facenet.Schedule | None
    num_updates: int
    epoch_size: int
    validate_every: int
    sampling: str
    skip_bad_images: bool
    use_averages: bool
    threads: int
    performance: bool
    histogram_max: float
    save_seconds: float
    init_checkpoint: str | None

    @property
    def num_epochs(self) -> int:
        """Epochs of the run; the last may be cut short."""
        return -(-self.num_updates // self.epoch_size)

    def rate(self, epoch: int) -> float | None:
        """Learning rate of an epoch (from 0) before its decay; None where the schedule ends."""
        return self.schedule.rate(epoch) if self.schedule else self.learning_rate

    def new_sampler(self, labels: np.ndarray) -> Sampler:
        """Return what draws the epochs' images; raises FlagError when there are too few."""
        epoch_images = min(self.epoch_size, self.num_updates) * self.graph.batch_size
        return Sampler(labels, epoch_images, self.sampling, self.graph.seed)


@dataclasses.dataclass(frozen=True)
class Data:
    """What a run trains and verifies on; `pairs` is None without LFW."""

    faces: Faces
    split: Split
    pairs: Pairs | None


def train_and_evaluate(config: Config, data: Data, opened: GraphRun, stop: StopRequest) -> None:
    """Train to the end of the run, from its newest checkpoint when it has one."""
    with tf.Graph().as_default():
        loop = _Loop(config, data, opened)
        with tf.Session(config=opened.session_config) as session, stop.deferred():
            loop.run(session, stop)
            stop.complete()


class _Loop:
    """The loop's graph and its place in the run."""

    def __init__(self, config: Config, data: Data, opened: GraphRun):
        self._config, self._data, self._run = config, data, opened.run
        self._train = model.build_training(config.graph)
        train = self._train
        dumped = dict(images=train.images, labels=train.labels, prelogits=train.prelogits, logits=train.head.logits,
                      **{f"gradient/{variable.op.name}": gradient for gradient, variable in train.step.gradients})
        self._diagnosis = debug.StepDiagnosis(opened.diagnosis, dumped, config.num_updates)
        self._fetches = dict(train.losses._asdict(), accuracy=train.accuracy, learning_rate=train.step.learning_rate,
                             global_step=train.step.global_step, prelogits=train.prelogits, train_op=train.train_op)
        self._histogram = np.zeros(model.HISTOGRAM_BINS, np.int32)  # of |prelogits| in this epoch
        self._batches = EpochBatches(data.faces, data.split.train, config.new_sampler(
            data.faces.labels[data.split.train]), config.graph, config.threads, config.skip_bad_images)
        self._build_evaluation()
        self._initialise = tf.global_variables_initializer()
        self._session: tf.Session
        self._checkpoints: checkpoints.Checkpoints
        self._original: original_files.WeightsOnly
        self._report: metrics.Report
        self._saved_at = time.monotonic()

    def _build_evaluation(self) -> None:
        network = self._config.graph.network
        self._forward = self._validation = None
        if self._config.performance:
            return
        if self._data.pairs is not None:
            getter = model.average_getter(self._train.step.averages) if self._config.use_averages else None
            self._lfw_feed = ImageFeed(self._config.lfw.batch_size, network, threads=self._config.threads)
            self._forward = model.build_forward(self._config.lfw.batch_size, network, getter, reuse=True)
        if len(self._data.split.validation):
            self._validation_feed = ImageFeed(self._config.graph.batch_size, network, threads=self._config.threads)
            self._validation = model.build_validation(self._config.graph)

    def run(self, session: tf.Session, stop: StopRequest) -> None:
        """Train, evaluate and save until the updates are made; then finish the run."""
        self._session = session
        self._checkpoints = checkpoints.Checkpoints(self._run.folder("ckpt"), session, self._train.global_step)
        self._original = original_files.WeightsOnly(session, self._run)
        config, size = self._config, self._config.epoch_size
        updates = self._start(session, stop.started)
        rate = None
        while True:
            if stop.requested:
                self._save(updates)
                stop.check()
            if updates and (updates % size == 0 or updates == config.num_updates):
                self._end_epoch(session, updates, stop)
            if updates == config.num_updates:
                break
            if rate is None or updates % size == 0:
                rate = config.rate(updates // size)
                if rate is None:
                    print(f"The schedule ends the training after {updates // size} epochs.")
                    break
                self._begin_epoch(session, updates, rate)
            self._step(session, updates, rate)
            updates += 1
            if time.monotonic() - self._saved_at >= config.save_seconds:
                self._save(updates)
        self._save(updates)
        self._finish(updates)

    def _start(self, session: tf.Session, started: float) -> int:
        """Set the variables, and open the report at the step they belong to; return that step."""
        session.run(self._initialise)
        step, notices = self._checkpoints.go_on(self._run.resumed)
        if step is None and self._config.init_checkpoint:
            notices += checkpoints.initialise_from(session, self._config.init_checkpoint, self._weights())
        for notice in notices:
            print(notice)
        self._histogram = session.run(self._train.histogram)
        self._report = metrics.Report(self._run, step or 0, started)
        return step or 0

    def _weights(self) -> list:
        """What a checkpoint can initialise: the weights, and of the rest what this run uses."""
        loss, weights = self._config.graph.loss, tf.trainable_variables()
        if self._config.graph.network.switches.batch_norm == "moving":
            weights += [variable for variable in tf.global_variables() if "/moving_" in variable.op.name
                        and not variable.op.name.endswith("ExponentialMovingAverage")]
        return weights + ([self._train.centers] if loss.center_loss_factor else [])

    def _begin_epoch(self, session: tf.Session, updates: int, rate: float) -> None:
        size = self._config.epoch_size
        print(f"learning rate: {rate}", flush=True)
        if updates % size == 0:
            self._histogram[:] = 0
        self._batches.begin(session, updates // size, updates % size)

    def _step(self, session: tf.Session, updates: int, rate: float) -> None:
        timer = timing.StepTimer()
        timer.start()
        images, labels = self._batches.next(session)
        feeds = {self._train.images: images, self._train.labels: labels, self._train.rate: rate}
        values = self._diagnosis.run(session, self._fetches, feeds, updates + 1)
        seconds = timer.stop()
        if not np.isfinite(values["total"]):
            raise ZooError(f"the loss is {values['total']} at step {updates + 1}: training has diverged; take a "
                           "smaller --learning_rate, or look for the op with --over_dump")
        prelogits = np.minimum(np.abs(values["prelogits"]), self._config.histogram_max)
        self._histogram += np.histogram(prelogits, model.HISTOGRAM_BINS, (0.0, self._config.histogram_max))[0].astype(
            np.int32)
        self._report.step(updates + 1, epoch=updates // self._config.epoch_size + 1, loss=float(values["total"]),
                          circle_loss=float(values["circle"]), center_loss=float(values["center"]),
                          prelogits_norm=float(values["prelogits_norm"]),
                          regularisation_loss=float(values["regularisation"]), accuracy=float(values["accuracy"]),
                          learning_rate=float(values["learning_rate"]), step_seconds=seconds)
        print(log_lines.step_line(self._report.rows[-1]), flush=True)

    def _end_epoch(self, session: tf.Session, updates: int, stop: StopRequest) -> None:
        """Save, validate, save the weights as the original does, run LFW, write the files; once."""
        if self._config.performance or self._report.evaluated(updates):
            return
        self._save(updates)
        epoch = (updates - 1) // self._config.epoch_size
        in_epoch = itertools.takewhile(lambda row: row["step"] > epoch * self._config.epoch_size,
                                       reversed(self._report.of_kind("step")))
        row: dict[str, Any] = dict(epoch=epoch + 1, learning_rate=self._report.of_kind("step")[-1]["learning_rate"],
                                   time_train=sum(step["step_seconds"] for step in in_epoch),
                                   prelogits_histogram=self._histogram.tolist())
        if self._validation and (epoch + 1) % self._config.validate_every == 0:
            row.update(self._validate(session, stop))
        self._original.save(epoch + 1)
        if self._forward:
            row.update(self._run_lfw(session, stop))
        self._report.evaluation(updates, **row)
        print("Saving statistics", flush=True)
        self._write_files()

    def _validate(self, session: tf.Session, stop: StopRequest) -> dict[str, float]:
        """Mean loss and accuracy over full batches of the validation images."""
        started = time.perf_counter()
        graph, indices, size = self._validation, self._data.split.validation, self._config.graph.batch_size
        indices = np.resize(indices, max(len(indices) // size, 1) * size)
        self._validation_feed.start(session, [self._data.faces.path(index) for index in indices])
        found = []
        for batch in indices.reshape(-1, size):
            stop.check()
            images = self._validation_feed.next_readable(session)
            feeds = {graph.images: images, graph.labels: self._data.faces.labels[batch]}
            found.append(session.run([graph.losses.total, graph.losses.circle, graph.accuracy], feeds))
        total, circle, accuracy = np.mean(found, axis=0)
        print(f"Validation: loss {total:.5f}, accuracy {accuracy:.5f}", flush=True)
        return dict(validation_loss=float(total), validation_circle_loss=float(circle),
                    validation_accuracy=float(accuracy), time_validate=time.perf_counter() - started)

    def _run_lfw(self, session: tf.Session, stop: StopRequest) -> dict[str, Any]:
        started = time.perf_counter()
        print("Runnning forward pass on LFW images", flush=True)

        def after_batch(number: int) -> None:
            stop.check()
            if number % 10 == 9:
                print(".", end="", flush=True)

        embedder = Embedder(session, self._lfw_feed, self._forward, self._config.lfw.use_flipped_images)
        once = self._config.graph.network.switches.batch_norm == "moving"
        embeddings = evaluation.embed_pairs(embedder, self._data.pairs, once, after_batch)
        print()
        row = lfw.summary(evaluation.verify(embeddings, self._data.pairs, self._config.lfw))
        earlier = [old["lfw_accuracy"] for old in self._report.of_kind("eval") if "lfw_accuracy" in old]
        row.update(time_evaluate=time.perf_counter() - started, best=row["lfw_accuracy"] > max(earlier, default=-1.0))
        for line in log_lines.lfw_lines(row):
            print(line, flush=True)
        return row

    def _write_files(self) -> None:
        steps, evaluations = self._report.of_kind("step"), self._report.of_kind("eval")
        for name, text in log_lines.text_files(steps, evaluations, self._config.case.name).items():
            atomic_files.write_text(self._run.file(name), text)
        atomic_files.write_bytes(self._run.file("stat.h5"), log_lines.statistics_file(
            steps, evaluations, self._config.num_updates, self._config.num_epochs, self._config.validate_every))

    def _save(self, updates: int) -> None:
        self._report.flush()
        self._train.histogram.load(self._histogram, self._session)
        best = [row["step"] for row in self._report.of_kind("eval") if row.get("best")]
        self._checkpoints.save(updates, keep=best[-1:])
        self._saved_at = time.monotonic()

    def _finish(self, updates: int) -> None:
        steps, evaluations = self._report.of_kind("step"), self._report.of_kind("eval")
        accuracy = max((row["lfw_accuracy"] for row in evaluations if "lfw_accuracy" in row), default=None)
        result = dict(ActualLoss=f"{steps[-1]['loss']}")
        if not self._config.performance:
            result["TrainAccuracy"] = metrics.number(accuracy, 5)
        self._write_files()
        self._draw_curves(bool(evaluations))
        self._report.finish(self._config.case, updates, accuracy, self._run.arguments["identity"]["device"], result)
        self._report.close()

    def _draw_curves(self, has_evaluations: bool) -> None:
        panels = {"loss": [("step", "loss", "total"), ("step", "circle_loss", "circle")],
                  "training accuracy": [("step", "accuracy", "batch"), ("eval", "validation_accuracy", "validation")]}
        if has_evaluations:
            panels["LFW"] = [("eval", "lfw_accuracy", "accuracy"), ("eval", "lfw_val_rate", "VAL"),
                             ("eval", "lfw_equal_error_rate", "EER")]
        self._report.draw_curves(panels)
