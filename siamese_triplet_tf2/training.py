"""Training on features with one worker or several: the task for `common.run.loop`."""
from __future__ import annotations

import collections
import dataclasses
import itertools
import shutil
import time
from typing import Any, Mapping

import numpy as np

from common import atomic_files, console
from common.cli.program import StopRequest
from common.devices import selection
from common.keras import session, workers
from common.keras.checkpoints import BackgroundFolder, KerasCheckpoints, initialise_from
from common.keras.session import StepDebugger, debugged, tf
from common.run import loop
from common.run.agreement import Epochs
from common.run.loop import Record, RunRecord
from common.run.metrics import Curve, format_number, median_step_seconds
from common.run.opening import Run
from siamese_triplet_tf2 import evaluation, features, log_lines, pretrained
from siamese_triplet_tf2.model import FEATURE_SHAPES, build_embedding, variable_names
from siamese_triplet_tf2.pairs import Pairs, Sampler, Triplets
from siamese_triplet_tf2.recipe import Switches
from siamese_triplet_tf2.update import Part, Updater

LEARNING_RATE = 1e-4
LOG_STEPS = 50
ADVICE = "look for the op with --over_dump"
CURVES = {
    "loss": [Curve("step", "loss", "training batch"), Curve("eval", "valid_loss", "validation")],
    "triplet accuracy": [Curve("eval", "triplet_accuracy", "validation")],
    "recall": [Curve("eval", "cosine_recall_at_1", "at 1"), Curve("eval", "cosine_recall_at_10", "at 10")],
}


@dataclasses.dataclass(frozen=True)
class Config:
    """What the flags resolve to; those that need no resolving are those of the run."""

    switches: Switches
    steps_per_epoch: int
    weights_path: str | None  # a file with the backbone's weights
    init_checkpoint: str | None  # prefix of a checkpoint with initial weights


def train(config: Config, data: Pairs, run: Run, stop: StopRequest) -> None:
    """Train to the end of the run, from its newest checkpoint if there is one."""
    team = workers.make(run.request.rank, run.device.kind, run.request.flags.jit_compile)
    team.require_same(run.checksum)
    with debugged(run) as debugger:
        task = _Task(config, data, run, team, stop, debugger)
        loop.run(task, task.record)


class _Task:
    """Implements `loop.Task`."""

    advice = ADVICE
    curves = CURVES

    def __init__(self, config: Config, data: Pairs, run: Run, team: workers.Workers, stop: StopRequest,
                 debugger: StepDebugger):
        self._config, self._data, self._run, self._team, self._debugger = config, data, run, team, debugger
        self._flags = flags = run.request.flags
        # positions of this worker's triplets in a batch, int64 [num]
        self._positions = team.positions(team.rank.size * -(-flags.batch_size // team.rank.size))
        with team.scope():
            self._embedding = build_embedding(flags.backbone, flags.seed)
            self._optimizer = session.scale_losses(session.Adam(LEARNING_RATE), run, flags.loss_scale)
        whole, switches = self._embedding.whole, config.switches
        self._variables = dict(zip(variable_names(whole), whole.weights))
        if config.weights_path:
            pretrained.load(whole, config.weights_path)
        self._images = features.ImageFeatures(self._embedding.frozen, data.images(), features.Decoding(
            switches.accurate_jpeg, switches.exif_orientation), switches.input_scale)
        self._kept = self._keep_features()
        self._features, gather = (self._kept, self._kept.gather) if self._kept else (self._images, None)
        self._updater = Updater(self._embedding, self._optimizer, team, flags.batch_statistics, flags.semi_hard, gather)
        self.record: Record = Record(run, stop)
        if team.rank.is_chief:
            self.record = RunRecord(run, stop, self._checkpoints(), tf.compat.v1)
        self.steps_per_epoch = config.steps_per_epoch
        epochs = Epochs(team, self.record, config.steps_per_epoch)
        self.evaluation_due, self.is_over = epochs.evaluation_due, epochs.is_over
        self._num_pairs = len(data.left)
        self._sampler = Sampler(self._num_pairs, flags.seed, flags.split, switches.negatives)
        self._tail = evaluation.compiled(self._embedding.tail)
        self._epoch, self._triplets = -1, Triplets(*np.zeros((3, 0), np.int64))
        self._recent_seconds: collections.deque = collections.deque(maxlen=LOG_STEPS)
        self._loss_sum, self._num_triplets, self._epoch_seconds = 0.0, 0, 0.0  # of the epoch so far
        self._last_loss = float("nan")
        self._is_on_device, self.steps_per_loop = False, 1  # until the features are on the device

    def _keep_features(self) -> features.KeptFeatures | None:
        """Choose where to keep the output of the frozen part. A run resolves `auto` only once."""
        run, flags, rank = self._run, self._flags, self._team.rank
        num, shape = len(self._data.images()), FEATURE_SHAPES[flags.backbone]
        choice = run.arguments.get("cache_features")
        if not choice:
            free_disk = shutil.disk_usage(run.path).free if rank.size == 1 else 0
            choice = features.choose(flags.cache_features, num, shape,
                                     selection.free_memory() // flags.nproc_per_node, free_disk)
        if rank.is_chief:
            run.remember("cache_features", choice)
        print(f"Features: {num} images, {features.total_bytes(num, shape) / 1e6:.0f} MB, " + {
            "memory": "kept in memory", "disk": "kept in the run directory", "off": "computed at every step"}[choice])
        if choice == "off":
            return None
        # an NPU and several workers read them on the host; scattering them to a GPU is slow if it must be deterministic
        on_device = rank.size == 1 and (run.device.kind == "cpu" or (
            run.device.kind == "gpu" and not flags.deterministic))
        return features.KeptFeatures(self._images, shape, num, on_device)

    def _checkpoints(self) -> KerasCheckpoints | BackgroundFolder:
        slots = {f"Adam/{number:03d}": slot for number, slot in enumerate(session.optimizer_variables(self._optimizer))}
        folder = KerasCheckpoints(self._run.folder("ckpt"), {**self._variables, **slots})
        return folder if self._run.device.kind == "npu" else folder.in_background()

    def on_row(self, row: Mapping[str, Any], is_replayed: bool) -> None:
        if row["kind"] == "step":
            if (row["step"] - 1) % self.steps_per_epoch == 0:
                self._loss_sum, self._num_triplets, self._epoch_seconds = 0.0, 0, 0.0
            self._last_loss = row["loss"]
            self._loss_sum += row["loss"] * row["triplets"]
            self._num_triplets += row["triplets"]
            self._epoch_seconds += row["step_seconds"]
            self._recent_seconds.append(row["step_seconds"])
            if row["step"] % LOG_STEPS == 0 and not is_replayed:
                console.detail(log_lines.time_history(row["step"] - LOG_STEPS, row["step"], self._flags.batch_size,
                                                      sum(self._recent_seconds)))
        elif row["kind"] == "eval" and not is_replayed:
            num_epochs = -(-self._run.request.num_updates // self.steps_per_epoch)
            for line in (*log_lines.epoch_lines(row, num_epochs), log_lines.metric_line(row)):
                console.detail(line)
            if log_lines.has_collapsed(row):
                print(log_lines.collapse_warning(self._run.arguments["identity"]["recipe"]), flush=True)
            self._write_losses()

    def start(self, step: int | None) -> int:
        if step is None and self._config.init_checkpoint:
            for line in initialise_from(self._config.init_checkpoint, self._variables):
                print(line)
        updates = tf.Variable(step or 0, dtype=tf.int64, trainable=False)
        self._team.broadcast([*self._embedding.whole.weights, *session.optimizer_variables(self._optimizer), updates])
        if self._kept:
            started, is_on_disk = time.perf_counter(), self._run.arguments.get("cache_features") == "disk"
            self._kept.fill(self.record.stop.check, self._run.folder("features") if is_on_disk else None,
                            self._images.fingerprint(self._data.fingerprint()))
            self._is_on_device = self._kept.on_device
            print(f"Features ready after {time.perf_counter() - started:.1f} s", flush=True)
        if self._is_on_device and not session.loss_scale_row(self._optimizer):  # which is a number of each step
            self.steps_per_loop = self._flags.steps_per_loop
        elif self._flags.steps_per_loop > 1:
            print("Notice: --steps_per_loop has no effect: it needs features on the device and no loss scale",
                  flush=True)
        return int(updates.numpy())

    def _batch(self, step: int) -> Triplets:
        epoch, index = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._triplets = epoch, self._sampler.train(epoch)
        size = self._flags.batch_size
        return self._triplets[index * size:(index + 1) * size]

    def steps(self, step: int, count: int) -> list[dict[str, Any]]:
        """Make updates in one call, see `loop.Task`: up to `count`, and up to the next batch of another size."""
        started = time.perf_counter()
        batches = [self._batch(number) for number in range(step, step + count)]
        batches = list(itertools.takewhile(lambda batch: len(batch) == len(batches[0]), batches))
        totals = self._updater.several([self._part(batch) for batch in batches])
        seconds = (time.perf_counter() - started) / len(batches)
        return [dict(loss=total / len(batch), triplets=len(batch), step_seconds=seconds)
                for total, batch in zip(totals, batches)]

    def step(self, step: int) -> dict[str, Any]:
        batch, stop = self._batch(step), self.record.stop
        started = time.perf_counter()
        part = self._part(batch)
        if not self._kept and self._run.device.kind != "npu" and step + 1 < self._run.request.num_updates:
            self._images.expect(self._own(self._batch(step + 1))[0].images())
        total, num_stopping = self._debugger.run(
            lambda dumps: self._updater(part, stop.is_signalled, dumps), step + 1)
        seconds = time.perf_counter() - started
        stop.num_stopping = num_stopping
        return dict(loss=total / len(batch), triplets=len(batch), step_seconds=seconds,
                    **session.loss_scale_row(self._optimizer))

    def _part(self, batch: Triplets) -> Part:
        """Return this worker's part of a batch."""
        own, counts = self._own(batch)
        kept = own.images() if self._is_on_device else self._features(own.images())
        return Part(kept, own.own_pair(self._num_pairs), counts.astype(np.float32))

    def _own(self, batch: Triplets) -> tuple[Triplets, np.ndarray]:
        """Return this worker's triplets of a batch, and which of them count.

        All workers have equally many. If the batch is not divisible, its first triplet is the padding.
        """
        positions = self._positions[:-(-len(batch) // self._team.rank.size)]
        counts = positions < len(batch)
        return batch[np.where(counts, positions, 0)], counts

    def evaluate(self, step: int) -> dict[str, Any]:
        if not self._team.evaluates:
            return {}
        started, epoch = time.perf_counter(), -(-step // self.steps_per_epoch)
        triplets, pairs = self._sampler.validation(epoch - 1), self._sampler.validation_pairs()
        indices = evaluation.images_needed(triplets, pairs, self._num_pairs)
        embeddings = evaluation.embed(self._tail, self._features, indices, self.record.stop.check)
        if not isinstance(self.record, RunRecord):
            return {}
        values: dict[str, Any] = dict(epoch=epoch, steps_per_epoch=self.steps_per_epoch,
                                      train_loss=self._loss_sum / self._num_triplets)
        values.update(evaluation.measure(indices, embeddings, triplets, pairs, self._num_pairs))
        seconds = time.perf_counter() - started
        best = max((row["triplet_accuracy"] for row in self.record.evaluations), default=-1.0)
        values.update(evaluation_seconds=seconds, epoch_seconds=self._epoch_seconds + seconds,
                      best=values["triplet_accuracy"] > best)
        return values

    def _write_losses(self) -> None:
        assert isinstance(self.record, RunRecord)
        atomic_files.write_text(self._run.file(f"train_{self._run.request.case_name}_loss.txt"),
                                "".join(f"{row['train_loss']:.4f}\n" for row in self.record.evaluations))

    def finish(self, step: int) -> None:
        if not isinstance(self.record, RunRecord):
            return
        rows, request = self.record.evaluations, self._run.request
        last = rows[-1] if rows else {}
        accuracy = last.get("triplet_accuracy")
        step_seconds = median_step_seconds(self._run.path)
        # as in the original: milliseconds, and a speed run's case name ends with the kind of shapes
        suffix = f"_{'static' if self._flags.static_shape else 'dynamic'}" if request.performance else ""
        result = dict(CaseName=request.case_name + suffix,
                      TrainingTime=format_number(step_seconds and 1e3 * step_seconds, 3),
                      TrainAccuracy=format_number(accuracy, 4),
                      ActualLoss=f"{last.get('train_loss', self._last_loss):.4f}")
        self._write_losses()
        print(f"Final Training Duration sec : {round(self.record.seconds())}")
        self.record.finish(step, accuracy, result)
