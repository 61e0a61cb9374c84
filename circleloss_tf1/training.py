"""Training: what Circle loss does in `common.run.loop`."""
from __future__ import annotations

import contextlib
import dataclasses
import time
from typing import Any, Mapping, NamedTuple

import numpy as np

from circleloss_tf1 import evaluation, facenet, lfw, log_lines, model
from circleloss_tf1.epoch_batches import EpochBatches
from circleloss_tf1.evaluation import Embedder, LfwSettings
from circleloss_tf1.face_images import ImageFeed, Stage
from circleloss_tf1.faces import Faces, Sampler, Split
from circleloss_tf1.lfw import Pairs
from circleloss_tf1.model import ForwardGraph, TrainGraph, ValidationGraph
from common import console
from common.cli.program import StopRequest
from common.graph import npu, workers
from common.graph.checkpoints import Checkpoints, initialise_from
from common.graph.compat import tf
from common.graph.session import StepDebugger, session_config
from common.run import loop
from common.run.agreement import Epochs, SharedStop
from common.run.loop import Record, RunRecord
from common.run.metrics import Curve, format_number
from common.run.opening import Run

ADVICE = "take a smaller --learning_rate, or look for the op with --over_dump"
CURVES = {
    "loss": [Curve("step", "loss", "total"), Curve("step", "circle_loss", "circle")],
    "training accuracy": [Curve("step", "accuracy", "batch"), Curve("eval", "validation_accuracy", "validation")],
    "LFW": [Curve("eval", "lfw_accuracy", "accuracy"), Curve("eval", "lfw_val_rate", "VAL"),
            Curve("eval", "lfw_equal_error_rate", "EER")],
}


@dataclasses.dataclass(frozen=True)
class Config:
    """What the flags resolve to; those that need no resolving are those of the run."""

    graph: model.TrainSettings
    lfw: LfwSettings
    schedule: facenet.Schedule | None  # None for a constant learning rate
    init_checkpoint: str | None  # prefix of a checkpoint to take weights from


@dataclasses.dataclass(frozen=True)
class Data:
    """Training and validation images, the sampler of the training images, and LFW's pairs, None without LFW."""

    faces: Faces
    split: Split
    sampler: Sampler
    pairs: Pairs | None


class _Graphs(NamedTuple):
    team: workers.Workers
    train: TrainGraph
    batches: EpochBatches
    debugger: StepDebugger
    lfw: tuple[ImageFeed, ForwardGraph] | None  # on the variables of `train`, as `validation`
    validation: tuple[ImageFeed, ValidationGraph] | None
    initialise: tf.Operation


def train(config: Config, data: Data, run: Run, stop: StopRequest) -> None:
    """Train to the end of the run, from its newest checkpoint when it has one."""
    flags = run.request.flags
    team = workers.make(run.request.rank, flags.batch_size, run.device, 60.0 * flags.peer_minutes)
    shared_stop = SharedStop(stop, team)
    with tf.Graph().as_default():
        with team.scope():
            graphs = _build(config, data, run, team)
        with team.open_session(session_config(run)) as session:
            team.require_same(run.checksum)
            histogram = _Histogram(graphs.train.histogram, session, flags.prelogits_hist_max)
            record: Record = Record(run, shared_stop)
            if run.request.rank.is_chief:
                log_lines.write_texts(run)
                checkpoints = Checkpoints(run.folder("ckpt"), session, graphs.train.global_step, histogram.store)
                record = RunRecord(run, shared_stop, checkpoints, tf)
            with contextlib.closing(_Task(config, data, graphs, session, histogram, record)) as task:
                loop.run(task, record)


def _build(config: Config, data: Data, run: Run, team: workers.Workers) -> _Graphs:
    flags, network = run.request.flags, config.graph.network
    stage = _stage(config, run)
    graph = model.build_training(config.graph, stage and stage.images, team)
    dumped = dict(images=graph.images, labels=graph.labels, prelogits=graph.prelogits, logits=graph.head.logits,
                  **{f"gradient/{variable.op.name}": gradient for gradient, variable in graph.step.gradients})
    debugger = StepDebugger(run, dumped)
    own = dataclasses.replace(config.graph, batch_size=len(team.positions))
    batches = EpochBatches(data.faces, data.split.train, data.sampler, own, flags.nrof_preprocess_threads,
                           flags.bad_images == "skip")
    if stage:
        batches.put_on(stage)
    on_lfw = validation = None
    if data.pairs is not None:
        getter = model.average_getter(graph.step.averages) if flags.ema_evaluation else None
        on_lfw = (ImageFeed(config.lfw.batch_size, network, threads=flags.nrof_preprocess_threads),
                  model.build_forward(config.lfw.batch_size, network, getter, reuse=True))
    if len(data.split.validation) and not run.request.performance:
        validation = (ImageFeed(flags.batch_size, network, threads=flags.nrof_preprocess_threads, read=data.faces.read),
                      model.build_validation(config.graph))
    return _Graphs(team, graph, batches, debugger, on_lfw, validation, tf.global_variables_initializer())


def _stage(config: Config, run: Run) -> Stage | None:
    """Let batches wait on the device for their steps. An NPU is not known to have the operations for it, and several
    workers were not tried with it.
    """
    if run.device.kind == "npu" or run.request.rank.size > 1:
        return None
    side = config.graph.network.extras.image_size
    return Stage([run.request.flags.batch_size, side, side, 3])


class _Histogram:
    """Counts of |prelogits| over an epoch. They are kept on the host; a variable carries them through checkpoints."""

    def __init__(self, variable: tf.Variable, session: tf.Session, maximum: float):
        self._variable, self._session, self._maximum = variable, session, maximum
        self.counts = np.zeros(variable.shape.as_list(), np.int32)

    def add(self, prelogits: np.ndarray) -> None:
        """Count the values of a batch."""
        values = np.minimum(np.abs(prelogits), self._maximum)
        self.counts += np.histogram(values, len(self.counts), (0.0, self._maximum))[0].astype(np.int32)

    def load(self) -> None:
        """Take the counts from the variable, after a checkpoint was restored."""
        self.counts = self._session.run(self._variable)

    def store(self) -> None:
        """Write the counts to the variable, before a checkpoint is saved."""
        self._variable.load(self.counts, self._session)


class _Task:
    """See `loop.Task`; close it to complete its files."""

    advice = ADVICE
    curves = CURVES

    def __init__(self, config: Config, data: Data, graphs: _Graphs, session: tf.Session, histogram: _Histogram,
                 record: Record):
        self._config, self._data, self._graphs, self._session = config, data, graphs, session
        self._histogram, self._record = histogram, record
        self._request, self._flags = record.run.request, record.run.request.flags
        self._files: log_lines.RowFiles | None = None  # rank 0 alone writes files
        if isinstance(record, RunRecord):
            self._files = log_lines.RowFiles(record.run)
            self._weight_files = facenet.WeightFiles(session, record.run.folder("models"),
                                                     f"model-{record.run.arguments['started']}")
        self.steps_per_epoch = self._flags.epoch_size
        self._epochs = Epochs(graphs.team, record, self.steps_per_epoch)
        self._epoch: int | None = None  # whose batches are being read
        self._last_step: Mapping[str, Any] = {}
        self._epoch_seconds = 0.0  # training time of the epoch of `_last_step`

    def close(self) -> None:
        self._graphs.batches.close()
        if self._files:
            self._files.close()

    def start(self, step: int | None) -> int:
        if step is None:
            self._session.run(self._graphs.initialise)
            if self._config.init_checkpoint:
                for line in initialise_from(self._session, self._config.init_checkpoint, self._weights()):
                    print(line)
        self._graphs.team.broadcast(tf.global_variables())
        self._histogram.load()
        return int(self._session.run(self._graphs.train.global_step))

    def _weights(self) -> list[tf.Variable]:
        """Return what --init_checkpoint loads: the weights, and what else this run uses."""
        loss, weights = self._config.graph.loss, tf.trainable_variables()
        if self._config.graph.network.switches.batch_norm == "moving":
            weights += [variable for variable in tf.global_variables() if "/moving_" in variable.op.name
                        and not variable.op.name.endswith("ExponentialMovingAverage")]
        return weights + ([self._graphs.train.centers] if loss.center_loss_factor else [])

    def _rate(self, epoch: int) -> float | None:
        """Return the learning rate of an epoch (from 0) before its decay; None where the schedule ends."""
        return self._config.schedule.rate(epoch) if self._config.schedule else self._flags.learning_rate

    def is_over(self, step: int) -> bool:
        return self._rate(step // self.steps_per_epoch) is None

    def step(self, step: int) -> dict[str, Any]:
        epoch, batch = divmod(step, self.steps_per_epoch)
        rate = self._rate(epoch)
        if epoch != self._epoch:
            console.detail(f"learning rate: {rate}")
            self._begin_epoch(epoch, batch)
        graph = self._graphs.train
        fetches = dict(graph.losses._asdict(), accuracy=graph.accuracy, learning_rate=graph.step.learning_rate,
                       global_step=graph.step.global_step, prelogits=graph.prelogits, train_op=graph.train_op)
        team, stop = self._graphs.team, self._record.stop
        stop.num_stopping = int(team.any(stop.is_signalled))
        started = time.perf_counter()
        images, labels = self._graphs.batches.next(self._session)
        feeds = {graph.labels: labels, graph.rate: rate}
        if images is not None:
            feeds[graph.images] = images
        with team.answered():
            values = self._graphs.debugger.run(self._session, fetches, feeds, step + 1)
        seconds = time.perf_counter() - started
        self._histogram.add(values["prelogits"])
        return dict(epoch=epoch + 1, loss=float(values["total"]), circle_loss=float(values["circle"]),
                    center_loss=float(values["center"]), prelogits_norm=float(values["prelogits_norm"]),
                    regularisation_loss=float(values["regularisation"]), accuracy=float(values["accuracy"]),
                    learning_rate=float(values["learning_rate"]), step_seconds=seconds, **npu.loss_scale_row(values))

    def _begin_epoch(self, epoch: int, batch: int) -> None:
        if batch == 0:
            self._histogram.counts[:] = 0
        self._graphs.batches.begin(self._session, epoch, batch)
        self._epoch = epoch

    def evaluation_due(self, step: int) -> bool:
        return self._epochs.evaluation_due(step)

    def evaluate(self, step: int) -> dict[str, Any]:
        """Evaluate; all ranks do, since they would have to wait anyway."""
        epoch = (step - 1) // self.steps_per_epoch + 1
        values: dict[str, Any] = dict(epoch=epoch, prelogits_histogram=self._histogram.counts.tolist())
        if self._graphs.validation and epoch % self._flags.validate_every_n_epochs == 0:
            values.update(self._validate(*self._graphs.validation))
        if self._files:
            values.update(learning_rate=self._last_step["learning_rate"], time_train=self._epoch_seconds)
            self._weight_files.save(epoch)
        if self._graphs.lfw:
            values.update(self._verify(*self._graphs.lfw))
        return values

    def _validate(self, feed: ImageFeed, graph: ValidationGraph) -> dict[str, float]:
        """Return the mean loss and accuracy over full batches of the validation images."""
        started = time.perf_counter()
        indices, size = self._data.split.validation, self._flags.batch_size
        indices = np.resize(indices, max(len(indices) // size, 1) * size)
        feed.start(self._session, [self._data.faces.path(index) for index in indices])
        results = []
        for batch in console.progress(indices.reshape(-1, size), "validation", "batch"):
            self._record.stop.check()
            feeds = {graph.images: feed.next(self._session), graph.labels: self._data.faces.labels[batch]}
            results.append(self._session.run([graph.losses.total, graph.losses.circle, graph.accuracy], feeds))
        total, circle, accuracy = np.mean(results, axis=0)
        console.detail(f"Validation: loss {total:.5f}, accuracy {accuracy:.5f}")
        return dict(validation_loss=float(total), validation_circle_loss=float(circle),
                    validation_accuracy=float(accuracy), time_validate=time.perf_counter() - started)

    def _verify(self, feed: ImageFeed, graph: ForwardGraph) -> dict[str, Any]:
        """Return the results on LFW."""
        started = time.perf_counter()
        console.detail("Runnning forward pass on LFW images")

        def after_batch(index: int) -> None:
            self._record.stop.check()
            if index % 10 == 9:
                console.detail(".", end="")

        embedder = Embedder(self._session, feed, graph, self._config.lfw.use_flipped_images)
        once = self._config.graph.network.switches.batch_norm == "moving"
        embeddings = evaluation.embed_pairs(embedder, self._data.pairs, once, after_batch)
        console.detail("")
        values = lfw.summary(evaluation.verify(embeddings, self._data.pairs, self._config.lfw))
        best = self._best_accuracy()
        return dict(values, time_evaluate=time.perf_counter() - started,
                    best=best is None or values["lfw_accuracy"] > best)

    def _best_accuracy(self) -> float | None:
        rows = self._record.evaluations if isinstance(self._record, RunRecord) else []
        return max((row["lfw_accuracy"] for row in rows if "lfw_accuracy" in row), default=None)

    def on_row(self, row: Mapping[str, Any], is_replayed: bool) -> None:
        assert self._files
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
        assert self._files
        if step < self._request.num_updates:
            print(f"The schedule ends the training after {step // self.steps_per_epoch} epochs.")
        accuracy = self._best_accuracy()
        result = dict(ActualLoss=f"{self._last_step['loss']}")
        if not self._request.performance:
            result["TrainAccuracy"] = format_number(accuracy, 5)
        self._files.write()
        self._record.finish(step, accuracy, result)
