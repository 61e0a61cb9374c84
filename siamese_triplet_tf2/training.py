"""The training loop, on features."""
from __future__ import annotations

import dataclasses
import shutil
import time
from typing import Any

import numpy as np
import tensorflow as tf

from common import files, keras_checkpoints, keras_diagnosis, keras_run, keras_versions, report, timing
from common.program import StopRequest, ZooError
from common.train_run import OpenRun
from siamese_triplet_tf2 import embedding, evaluation, features, log_lines, weights
from siamese_triplet_tf2.pairs import Pairs, Sampler, Triplets
from siamese_triplet_tf2.update import Update

LEARNING_RATE = 1e-4
LOG_STEPS = 50


@dataclasses.dataclass(frozen=True)
class Switches:
    """What the recipes differ in; the fields are flags of the same names.

    Attributes:
        input_scale: "unit" or "255", see `decoding.preprocess`.
        accurate_jpeg: decode JPEG with the accurate DCT.
        negatives: "listed" or "others", see `pairs.Sampler`.
    """

    input_scale: str = "unit"
    accurate_jpeg: bool = False
    negatives: str = "listed"


RECIPES = {"reference": Switches(), "corrected": Switches("255", True, "others")}


@dataclasses.dataclass(frozen=True)
class Config:
    """A training run.

    Attributes:
        case: names the run in the result files.
        switches: the recipe's.
        batch_size: triplets in a step.
        seed: seed of weights, split, order and negatives.
        num_updates: updates to make.
        steps_per_epoch: updates in an epoch.
        split: "fixed" or "redrawn".
        backbone: "resnet50" or "tiny".
        weights: file of the backbone's weights, or None.
        batch_statistics: in training, normalise what trains with the statistics of the batch, of each tower its own.
        semi_hard: choose negatives within the batch.
        loss_scale: see `keras_run.scale_losses`.
        cache_features: "auto", "memory", "disk" or "off".
        static_shape: full batches only.
        performance: no evaluation.
        save_seconds: seconds between checkpoints.
        init_checkpoint: prefix of a checkpoint to take weights from, or None.
    """

    case: report.Case
    switches: Switches
    batch_size: int
    seed: int
    num_updates: int
    steps_per_epoch: int
    split: str
    backbone: str
    weights: str | None
    batch_statistics: bool
    semi_hard: bool
    loss_scale: str | None
    cache_features: str
    static_shape: bool
    performance: bool
    save_seconds: float
    init_checkpoint: str | None


def train_and_evaluate(config: Config, data: Pairs, opened: OpenRun, stop: StopRequest) -> None:
    """Train to the end of the run, from its newest checkpoint when it has one."""
    with stop.deferred(), keras_diagnosis.diagnosed(opened.diagnosis, config.num_updates) as diagnosis:
        _Loop(config, data, opened, stop, diagnosis).run()
        stop.complete()


class _Loop:
    """The model and its place in the run."""

    def __init__(self, config: Config, data: Pairs, opened: OpenRun, stop: StopRequest,
                 diagnosis: keras_diagnosis.StepDiagnosis):
        self._config, self._run, self._stop, self._diagnosis = config, opened.run, stop, diagnosis
        self._num_pairs = len(data.left)
        self._sampler = Sampler(self._num_pairs, config.seed, config.split, config.switches.negatives)
        model = embedding.build(config.backbone, config.seed)
        self._model = model
        self._variables = keras_checkpoints.named(embedding.names_of(model.whole), model.whole.weights)
        if config.weights:
            weights.load(model.whole, config.weights)
        self._optimizer = keras_run.scale_losses(tf.keras.optimizers.Adam(LEARNING_RATE), opened, config.loss_scale)
        keras_versions.build_optimizer(self._optimizer, model.tail.trainable_variables)
        slots = keras_versions.optimizer_variables(self._optimizer)
        self._updates = tf.Variable(0, dtype=tf.int64, trainable=False)
        saved = dict(self._variables, **{f"Adam/{number:03d}": slot for number, slot in enumerate(slots)})
        self._checkpoints = keras_checkpoints.KerasCheckpoints(self._run.folder("ckpt"), saved, self._updates)
        self._features = self._make_features(data)
        update = Update(model, self._optimizer, config.batch_statistics, config.semi_hard)
        self._update = tf.function(update)
        self._tail = tf.function(lambda kept: tf.cast(model.tail(kept, training=False), tf.float32))
        self._report: report.Report
        self._saved_at = time.monotonic()
        self._epoch, self._triplets = -1, Triplets(*np.zeros((3, 0), np.int64))

    def run(self) -> None:
        """Train, evaluate and save until the updates are made; then finish the run."""
        updates = self._start()
        if isinstance(self._features, features.KeptFeatures):
            self._fill_features()
        while True:
            if self._stop.requested:
                self._save(updates)
                self._stop.check()
            if self._is_evaluation_due(updates):
                self._evaluate(updates)
            if updates == self._config.num_updates:
                break
            self._step(updates)
            updates += 1
            self._updates.assign(updates)
            if time.monotonic() - self._saved_at >= self._config.save_seconds:
                self._save(updates)
        self._save(updates)
        self._finish(updates)

    def _start(self) -> int:
        """Restore the newest checkpoint, and open the report at its step; return that step."""
        step, notices = self._checkpoints.go_on(self._run.resumed)
        if step is None and self._config.init_checkpoint:
            notices += keras_checkpoints.initialise_from(self._config.init_checkpoint, self._variables)
        for notice in notices:
            print(notice)
        self._report = report.Report(self._run, step or 0, self._stop.started)
        return step or 0

    def _make_features(self, data: Pairs) -> features.FeatureSource:
        shape = embedding.FEATURE_SHAPES[self._config.backbone]
        images = data.images()
        choice = self._run.arguments.get("cache_features") or features.choose(
            self._config.cache_features, len(images), shape, features.free_memory(),
            shutil.disk_usage(self._run.path).free)
        self._run.remember("cache_features", choice)
        size = features.total_bytes(len(images), shape) / 1e6
        print(f"Features: {len(images)} images, {size:.0f} MB, " + {
            "memory": "kept in memory", "disk": "kept in the run directory", "off": "computed at every step"}[choice])
        switches = self._config.switches
        compute = features.computer(self._model.frozen, images, switches.accurate_jpeg, switches.input_scale)
        self._kept_in = self._run.folder("features") if choice == "disk" else None
        if choice == "off":
            return features.FeatureSource(compute)
        return features.KeptFeatures(compute, shape, len(images))

    def _fill_features(self) -> None:
        switches = self._config.switches
        started = time.perf_counter()
        mark = features.fingerprint(self._model.frozen, self._run.arguments["identity"]["data"], switches.accurate_jpeg,
                                    switches.input_scale)
        self._features.fill(self._stop.check, self._kept_in, mark)
        print(f"Features ready after {time.perf_counter() - started:.1f} s", flush=True)

    def _batch(self, updates: int) -> Triplets:
        epoch, place = divmod(updates, self._config.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._triplets = epoch, self._sampler.train(epoch)
        triplets = self._triplets
        part = slice(place * self._config.batch_size, (place + 1) * self._config.batch_size)
        return Triplets(triplets.anchor[part], triplets.positive[part], triplets.negative[part])

    def _step(self, updates: int) -> None:
        timer = timing.StepTimer()
        batch = self._batch(updates)
        timer.start()
        kept = self._features[np.concatenate([batch.anchor, batch.positive, batch.negative])]
        arguments = tf.constant(kept), tf.constant(batch.own_pair(self._num_pairs))
        losses = self._diagnosis.run(lambda dumps: self._update(*arguments, dumps), updates + 1).numpy()
        seconds = timer.stop()
        if not np.isfinite(losses).all():
            raise ZooError(f"the loss is {losses.sum()} at step {updates + 1}: training has diverged")
        self._report.step(updates + 1, loss=float(losses.mean()), triplets=len(batch), step_seconds=seconds)
        if (updates + 1) % LOG_STEPS == 0:
            recent = [row["step_seconds"] for row in self._report.of_kind("step")[-LOG_STEPS:]]
            print(log_lines.time_history(updates + 1 - LOG_STEPS, updates + 1, self._config.batch_size, sum(recent)),
                  flush=True)

    def _is_evaluation_due(self, updates: int) -> bool:
        at_epoch = updates > 0 and updates % self._config.steps_per_epoch == 0
        due = not self._config.performance and (at_epoch or updates == self._config.num_updates)
        return due and not self._report.evaluated(updates)

    def _evaluate(self, updates: int) -> None:
        self._save(updates)
        epoch = -(-updates // self._config.steps_per_epoch)
        first = (epoch - 1) * self._config.steps_per_epoch
        rows = [row for row in self._report.of_kind("step") if first < row["step"] <= updates]
        train_loss = sum(row["loss"] * row["triplets"] for row in rows) / sum(row["triplets"] for row in rows)
        earlier = self._report.of_kind("eval")
        values: dict[str, Any] = dict(epoch=epoch, steps_per_epoch=self._config.steps_per_epoch, train_loss=train_loss)
        started = time.perf_counter()
        triplets, pairs = self._sampler.validation(epoch - 1), self._sampler.validation_pairs()
        numbers = evaluation.images_needed(triplets, pairs, self._num_pairs)
        embeddings = evaluation.embed(self._tail, self._features, numbers, self._stop.check)
        values.update(evaluation.measure(numbers, embeddings, triplets, pairs, self._num_pairs))
        values["evaluation_seconds"] = time.perf_counter() - started
        values["epoch_seconds"] = sum(row["step_seconds"] for row in rows) + values["evaluation_seconds"]
        best = max((row["triplet_accuracy"] for row in earlier), default=-1.0)
        values["best"] = values["triplet_accuracy"] > best
        self._report.evaluation(updates, **values)
        num_epochs = -(-self._config.num_updates // self._config.steps_per_epoch)
        for line in (*log_lines.epoch_lines(values, num_epochs), log_lines.metric_line(values)):
            print(line, flush=True)
        self._write_files()

    def _write_files(self) -> None:
        text = log_lines.loss_text(self._report.of_kind("eval"))
        files.write_text(self._run.file(f"train_{self._config.case.name}_loss.txt"), text)

    def _save(self, updates: int) -> None:
        self._updates.assign(updates)
        self._report.flush()
        best = [row["step"] for row in self._report.of_kind("eval") if row.get("best")]
        self._checkpoints.save(updates, keep=best[-1:])
        self._saved_at = time.monotonic()

    def _finish(self, updates: int) -> None:
        rows = self._report.of_kind("eval")
        last = rows[-1] if rows else {}
        loss = last.get("train_loss", self._report.of_kind("step")[-1]["loss"])
        accuracy = last.get("triplet_accuracy")
        step_seconds = self._report.step_seconds()
        # milliseconds, and with the suffix of the shapes in a speed run, as the original has it
        suffix = f"_{'static' if self._config.static_shape else 'dynamic'}" if self._config.performance else ""
        result = dict(CaseName=self._config.case.name + suffix,
                      TrainingTime=report.number(step_seconds and 1e3 * step_seconds, 3),
                      TrainAccuracy=report.number(accuracy, 4), ActualLoss=f"{loss:.4f}")
        self._write_files()
        self._report.draw_curves({
            "loss": [("step", "loss", "training batch"), ("eval", "valid_loss", "validation")],
            "triplet accuracy": [("eval", "triplet_accuracy", "validation")],
            "recall": [("eval", "cosine_recall_at_1", "at 1"), ("eval", "cosine_recall_at_10", "at 10")],
        })
        print(f"Final Training Duration sec : {round(self._report.seconds())}")
        device = self._run.arguments["identity"]["device"]
        self._report.finish(self._config.case, updates, accuracy, device, result)
        self._report.close()
