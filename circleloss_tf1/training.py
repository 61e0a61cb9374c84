"""Training: what Circle loss does in `common.run.loop`."""
from __future__ import annotations

import contextlib
import dataclasses
import time
from typing import Any, Callable, Mapping

import numpy as np

from circleloss_tf1 import evaluation, facenet, lfw, log_lines, model
from circleloss_tf1.evaluation import Embedder
from circleloss_tf1.face_images import EpochBatches, ImageFeed, staged_images
from circleloss_tf1.faces import Faces, Sampler, Split
from circleloss_tf1.lfw import Pairs
from circleloss_tf1.model import ValidationGraph
from circleloss_tf1.recipe import NetworkSettings
from common import console
from common.cli.program import StopRequest
from common.graph import npu, workers
from common.graph.checkpoints import Checkpoints, initialise_from
from common.graph.compat import tf
from common.graph.session import StepDebugger, session_config
from common.run import loop
from common.run.agreement import Epochs
from common.run.loop import Record, RunRecord
from common.run.metrics import Curve, format_number
from common.run.opening import Run


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What training depends on besides the run and its flags."""

    network: NetworkSettings
    faces: Faces
    split: Split
    sampler: Sampler  # of the training images
    pairs: Pairs | None  # None: the run is not verified on LFW
    rate: Callable[[int], float | None]  # learning rate of an epoch (from 0) before its decay; None ends the training
    init_checkpoint: str | None  # prefix of a checkpoint to take weights from


def train(inputs: Inputs, run: Run, stop: StopRequest) -> None:
    """Train to the end of the run, from its newest checkpoint when it has one."""
    team = workers.make(run.request.rank, run.request.flags.batch_size, run.device,
                        60.0 * run.request.flags.peer_minutes)
    with tf.Graph().as_default():
        with team.scope():
            task = _Task(inputs, run, team)
        with team.open_session(session_config(run)) as session, contextlib.closing(task):
            team.require_same(run.checksum)
            loop.run(task, task.open(session, stop))


class _Task:
    """See `loop.Task`; close it to complete its files."""

    advice = "try a smaller --learning_rate, or look for the op with --over_dump"
    curves = {
        "loss": [Curve("step", "loss", "total"), Curve("step", "circle_loss", "circle")],
        "training accuracy": [Curve("step", "accuracy", "batch"), Curve("eval", "validation_accuracy", "validation")],
        "LFW": [Curve("eval", "lfw_accuracy", "accuracy"), Curve("eval", "lfw_val_rate", "VAL"),
                Curve("eval", "lfw_equal_error_rate", "EER")],
    }

    def __init__(self, inputs: Inputs, run: Run, team: workers.Workers):
        """Build the graphs."""
        self._inputs, self._run, self._team, self._flags = inputs, run, team, run.request.flags
        flags, network = self._flags, inputs.network
        loss = model.LossSettings(**{field.name: flags[field.name].value
                                     for field in dataclasses.fields(model.LossSettings)})
        step = facenet.StepSettings(flags.optimizer, flags.learning_rate_decay_epochs * flags.epoch_size,
                                    flags.learning_rate_decay_factor, flags.moving_average_decay,
                                    npu.scales_losses(run.device, flags.dynamic_loss_scale))
        settings = model.TrainSettings(flags.batch_size, len(inputs.faces.people), network, loss, step, flags.seed)
        # an NPU is not known to have the operations of a stage, and several workers were not tried with it
        is_staged, side = run.device.kind != "npu" and run.request.rank.size == 1, network.extras.image_size
        staged = staged_images([flags.batch_size, side, side, 3]) if is_staged else None
        self._graph = graph = model.build_training(settings, staged, team)
        dumped = dict(images=graph.images, labels=graph.labels, prelogits=graph.prelogits, logits=graph.head.logits,
                      **{f"gradient/{variable.op.name}": gradient for gradient, variable in graph.step.gradients})
        self._debugger = StepDebugger(run, dumped)
        self._batches = EpochBatches(inputs.faces, inputs.split.train, inputs.sampler, network, flags, is_staged)
        threads = flags.nrof_preprocess_threads
        self._embedder: Embedder | None = None  # of LFW, on the variables of the training graph
        if inputs.pairs is not None:
            getter = model.average_getter(graph.step.averages) if flags.ema_evaluation else None
            self._embedder = Embedder(flags.lfw_batch_size, network, flags.lfw_use_flipped_images, getter, True,
                                      threads)
        self._validation: tuple[ImageFeed, ValidationGraph] | None = None  # on the same variables
        if len(inputs.split.validation) and not run.request.performance:
            self._validation = (ImageFeed(flags.batch_size, network, threads=threads, read=inputs.faces.read),
                                model.build_validation(settings))
        self._initialise = tf.global_variables_initializer()
        self.steps_per_epoch = flags.epoch_size
        self._epoch: int | None = None  # whose batches are being read
        self._histogram = np.zeros(model.HISTOGRAM_BINS, np.int32)  # of |prelogits| over the epoch
        self._last_step: Mapping[str, Any] = {}
        self._epoch_seconds = 0.0  # training time of the epoch of `_last_step`
        self._files: log_lines.RowFiles | None = None  # rank 0 alone writes files

    def open(self, session: tf.Session, stop: StopRequest) -> Record:
        """Prepare for training in a session; return the record of this rank."""
        self._session, self._record = session, Record(self._run, stop)
        if self._run.request.rank.is_chief:
            log_lines.write_texts(self._run)
            checkpoints = Checkpoints(self._run.folder("ckpt"), session, self._graph.global_step,
                                      lambda: self._graph.histogram.load(self._histogram, session))
            self._record = RunRecord(self._run, stop, checkpoints, tf)
            self._files = log_lines.RowFiles(self._run)
            self._weight_files = facenet.WeightFiles(session, self._run.folder("models"),
                                                     f"model-{self._run.arguments['started']}")
        self.evaluation_due = Epochs(self._team, self._record, self.steps_per_epoch).evaluation_due
        return self._record

    def close(self) -> None:
        self._batches.close()
        if self._files:
            self._files.close()

    def start(self, step: int | None) -> int:
        if step is None:
            self._session.run(self._initialise)
            if self._inputs.init_checkpoint:
                for line in initialise_from(self._session, self._inputs.init_checkpoint, self._weights()):
                    print(line)
        self._team.broadcast(tf.global_variables())
        self._histogram[:] = self._session.run(self._graph.histogram)
        return int(self._session.run(self._graph.global_step))

    def _weights(self) -> list[tf.Variable]:
        """Return what --init_checkpoint loads: the weights, and what else this run uses."""
        weights = tf.trainable_variables()
        if self._inputs.network.switches.batch_norm == "moving":
            weights += [variable for variable in tf.global_variables() if "/moving_" in variable.op.name
                        and not variable.op.name.endswith("ExponentialMovingAverage")]
        return weights + ([self._graph.centers] if self._flags.center_loss_factor else [])

    def is_over(self, step: int) -> bool:
        return self._inputs.rate(step // self.steps_per_epoch) is None

    def step(self, step: int) -> dict[str, Any]:
        epoch, batch = divmod(step, self.steps_per_epoch)
        rate = self._inputs.rate(epoch)
        if epoch != self._epoch:
            console.detail(f"learning rate: {rate}")
            if batch == 0:
                self._histogram[:] = 0
            self._batches.begin(self._session, epoch, batch)
            self._epoch = epoch
        graph, team, stop = self._graph, self._team, self._record.stop
        fetches = dict(graph.losses._asdict(), accuracy=graph.accuracy, learning_rate=graph.step.learning_rate,
                       prelogits=graph.prelogits, train_op=graph.train_op)
        stop.num_stopping = int(team.any(stop.is_signalled))
        started = time.perf_counter()
        images, labels = self._batches.next(self._session)
        feeds = {graph.labels: labels, graph.rate: rate}
        if images is not None:
            feeds[graph.images] = images
        with team.answered():
            values = self._debugger.run(self._session, fetches, feeds, step + 1)
        seconds = time.perf_counter() - started
        most = self._flags.prelogits_hist_max
        prelogits = np.minimum(np.abs(values["prelogits"]), most)
        self._histogram += np.histogram(prelogits, model.HISTOGRAM_BINS, (0.0, most))[0].astype(np.int32)
        return dict(epoch=epoch + 1, loss=float(values["total"]), circle_loss=float(values["circle"]),
                    center_loss=float(values["center"]), prelogits_norm=float(values["prelogits_norm"]),
                    regularisation_loss=float(values["regularisation"]), accuracy=float(values["accuracy"]),
                    learning_rate=float(values["learning_rate"]), step_seconds=seconds, **npu.loss_scale_row(values))

    def evaluate(self, step: int) -> dict[str, Any]:
        """Evaluate; all ranks do, since they would have to wait anyway."""
        epoch = (step - 1) // self.steps_per_epoch + 1
        values: dict[str, Any] = dict(epoch=epoch, prelogits_histogram=self._histogram.tolist())
        if self._validation and epoch % self._flags.validate_every_n_epochs == 0:
            values.update(self._validate(*self._validation))
        if self._files:
            values.update(learning_rate=self._last_step["learning_rate"], time_train=self._epoch_seconds)
            self._weight_files.save(epoch)
        if self._embedder:
            values.update(self._verify(self._embedder))
        return values

    def _validate(self, feed: ImageFeed, graph: ValidationGraph) -> dict[str, float]:
        """Return the mean loss and accuracy over full batches of the validation images."""
        started = time.perf_counter()
        indices, size = self._inputs.split.validation, self._flags.batch_size
        indices = np.resize(indices, max(len(indices) // size, 1) * size)
        feed.start(self._session, [self._inputs.faces.path(index) for index in indices])
        results = []
        for batch in console.progress(indices.reshape(-1, size), "validation", "batch"):
            self._record.stop.check()
            feeds = {graph.images: feed.next(self._session), graph.labels: self._inputs.faces.labels[batch]}
            results.append(self._session.run([graph.losses.total, graph.losses.circle, graph.accuracy], feeds))
        total, circle, accuracy = np.mean(results, axis=0)
        console.detail(f"Validation: loss {total:.5f}, accuracy {accuracy:.5f}")
        return dict(validation_loss=float(total), validation_circle_loss=float(circle),
                    validation_accuracy=float(accuracy), time_validate=time.perf_counter() - started)

    def _verify(self, embedder: Embedder) -> dict[str, Any]:
        """Return the results on LFW."""
        started = time.perf_counter()
        console.detail("Runnning forward pass on LFW images")

        def after_batch(index: int) -> None:
            self._record.stop.check()
            if index % 10 == 9:
                console.detail(".", end="")

        embeddings = embedder.embed_pairs(self._session, self._inputs.pairs, after_batch)
        console.detail("")
        values = lfw.summary(evaluation.verify(embeddings, self._inputs.pairs, self._flags))
        best = self._files and self._files.best_accuracy
        return dict(values, time_evaluate=time.perf_counter() - started,
                    best=best is None or values["lfw_accuracy"] > best)

    def on_row(self, row: Mapping[str, Any], is_replayed: bool) -> None:
        self._files.add(row)
        if row["kind"] == "step":
            is_same_epoch = row["epoch"] == self._last_step.get("epoch")
            self._epoch_seconds = row["step_seconds"] + (self._epoch_seconds if is_same_epoch else 0.0)
            self._last_step = row
            if not is_replayed:
                console.detail(log_lines.step_line(row))
        elif row["kind"] == "eval" and not is_replayed:
            for line in (*(log_lines.lfw_lines(row) if "lfw_accuracy" in row else ()), "Saving statistics"):
                console.detail(line)
            self._files.write()

    def finish(self, step: int) -> None:
        if not isinstance(self._record, RunRecord):
            return
        if step < self._run.request.num_updates:
            print(f"The schedule ends the training after {step // self.steps_per_epoch} epochs.")
        accuracy = self._files.best_accuracy
        result = dict(ActualLoss=f"{self._last_step['loss']}")
        if not self._run.request.performance:
            result["TrainAccuracy"] = format_number(accuracy, 5)
        self._files.write()
        self._record.finish(step, accuracy, result)
