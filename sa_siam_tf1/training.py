"""The training loop."""
from __future__ import annotations

import dataclasses
import os
import time
from typing import Any

import numpy as np

from common import atomic_files
from common.checkpoints import bundle
from common.cli.program import StopRequest
from common.errors import ZooError
from common.graph import checkpoints, debug, npu
from common.graph.compat import assign, tf
from common.graph.session import GraphRun
from common.run import metrics, tensorboard, timing
from sa_siam_tf1 import configuration, log_lines, siamese_model
from sa_siam_tf1.configuration import ModelConfig, TrackConfig, TrainConfig
from sa_siam_tf1.datasets.dataloader import Batch, TrainingBatches, validation_batches
from sa_siam_tf1.datasets.imdb import Tracks
from sa_siam_tf1.metrics import track_metrics

NUM_SHOWN = 3  # pairs of images for TensorBoard
# where the original keeps a branch's checkpoints
CHECKPOINT_FOLDERS = {"appearance": "SA-Siam-Appearance", "semantic": "SA-Siam-Semantic"}


@dataclasses.dataclass(frozen=True)
class Config:
    """A training run.

    Attributes:
        case: names the run in the result files.
        model: the network.
        train: how it trains.
        track: kept beside them, for those who track with the weights.
        num_updates: updates to make.
        performance: no validation.
        save_seconds: seconds between checkpoints.
        init_checkpoint: prefix of a checkpoint to take weights from, or None.
        imported: arrays to begin with, by variable.
    """

    case: metrics.Case
    model: ModelConfig
    train: TrainConfig
    track: TrackConfig
    num_updates: int
    performance: bool
    save_seconds: float
    init_checkpoint: str | None
    imported: dict


def train_and_evaluate(config: Config, data: Tracks, opened: GraphRun, stop: StopRequest) -> None:
    """Train to the end of the run, from its newest checkpoint when it has one."""
    configuration.save(opened.run.path, config.model, config.train, config.track)
    with tf.Graph().as_default():
        loop = _Loop(config, data, opened)
        try:
            with tf.Session(config=opened.session_config) as session, stop.deferred():
                loop.run(session, stop)
                stop.complete()
        finally:
            loop.close()


class _Loop:
    """The loop's graph and its place in the run."""

    def __init__(self, config: Config, data: Tracks, opened: GraphRun):
        self._config = config
        self._data = data
        self._run = opened.run
        self._train = siamese_model.build_training(
            config.model, config.train, npu.scales_losses(opened.device, config.train.dynamic_loss_scale))
        towers = self._train.towers
        dumped = dict(exemplars=towers.exemplars, instances=towers.instances, response=towers.response,
                      **{f"gradient/{variable.op.name}": gradient for gradient, variable in self._train.gradients})
        self._diagnosis = debug.StepDiagnosis(opened.diagnosis, dumped, config.num_updates)
        self._validation = None if config.performance or not data.validation else siamese_model.build_validation(
            config.model, config.train.batch_size, config.train.seed)
        self._fetches = dict(loss=self._train.total_loss, batch_loss=towers.batch_loss, response=towers.response,
                             train_op=self._train.train_op)
        self._batches = TrainingBatches(data.train, config.train, siamese_model.TRAIN_SIDE)
        self._images = tensorboard.ImageEvents(self._run.path)
        self._initialise = tf.global_variables_initializer()
        self._checkpoints: checkpoints.Checkpoints
        self._report: metrics.Report
        self._saved_at = time.monotonic()

    def close(self) -> None:
        """Stop the threads that read, and close the images' file."""
        self._batches.close()
        self._images.close()

    def run(self, session: tf.Session, stop: StopRequest) -> None:
        """Train, validate and save until the updates are made; then finish the run."""
        self._checkpoints = checkpoints.Checkpoints(self._run.folder("ckpt"), session, self._train.global_step)
        updates = self._start(session, stop.started)
        while True:
            if stop.requested:
                self._save(updates)
                stop.check()
            if self._is_epoch_end(updates):
                self._end_epoch(session, updates, stop)
            if updates == self._config.num_updates:
                break
            self._step(session, updates)
            updates += 1
            if time.monotonic() - self._saved_at >= self._config.save_seconds:
                self._save(updates)
        self._save(updates)
        self._finish(updates)

    def _start(self, session: tf.Session, started: float) -> int:
        """Set the variables, and open the report at the step they belong to; return that step."""
        session.run(self._initialise)
        step, notices = self._checkpoints.go_on(self._run.resumed)
        notices += log_lines.start_lines(self._config.model.init_method,
                                         [variable.op.name for variable in tf.trainable_variables()])
        if step is not None:
            prefix = os.path.join(self._checkpoints.folder, f"{bundle.PREFIX}-{step}")
            notices.append(f"Restore from last checkpoint: {prefix}")
        else:
            variables = {variable.op.name: variable for variable in tf.global_variables()}
            assign(session, {variables[name]: value for name, value in self._config.imported.items()})
            if self._config.init_checkpoint:
                del variables[self._train.global_step.op.name]
                wanted = [variable for name, variable in variables.items() if not name.endswith("/Momentum")]
                notices += checkpoints.initialise_from(session, self._config.init_checkpoint, wanted)
        for notice in notices:
            print(notice)
        print(f"Train for {self._config.num_updates} steps")
        self._report = metrics.Report(self._run, step or 0, started)
        return step or 0

    def _step(self, session: tf.Session, updates: int) -> None:
        timer = timing.StepTimer()
        timer.start()
        batch = self._batches.batch(updates)
        towers = self._train.towers
        learning_rate = self._config.train.learning_rate(updates)
        feeds: dict[Any, Any] = {towers.exemplars: batch.exemplars, towers.instances: batch.instances,
                                 self._train.learning_rate: learning_rate}
        values = self._diagnosis.run(session, self._fetches, feeds, updates + 1)
        seconds = timer.stop()
        if not np.isfinite(values["loss"]):
            raise ZooError(f"the loss is {values['loss']} at step {updates + 1}: training has diverged; take a smaller "
                           "--initial_lr, or look for the op with --over_dump")
        errors = {}
        if updates % log_lines.SUMMARY_INTERVAL == 0 and not self._config.performance:
            errors = _center_errors(values["response"])
            self._show("train", updates + 1, batch, values["response"])
        self._report.step(updates + 1, loss=float(values["loss"]), batch_loss=float(values["batch_loss"]),
                          learning_rate=learning_rate, step_seconds=seconds, **errors)
        row = self._report.rows[-1]
        if log_lines.is_logged(row):
            print(log_lines.step_line(row, self._config.train.batch_size, self._config.num_updates), flush=True)

    def _is_epoch_end(self, updates: int) -> bool:
        at_end = updates % self._config.train.steps_per_epoch == 0 or updates == self._config.num_updates
        return updates > 0 and at_end and not self._config.performance and not self._report.evaluated(updates)

    def _end_epoch(self, session: tf.Session, updates: int, stop: StopRequest) -> None:
        """Save as the original does, under the step's number counted from 0; validate."""
        self._save(updates)
        folder = self._run.folder(f"track_model_checkpoints/{CHECKPOINT_FOLDERS[self._config.model.branch]}")
        self._checkpoints.save_as(folder, f"model.ckpt-{updates - 1}")
        if self._validation is not None:
            row = self._validate(session, updates, stop)
            best = min((earlier["valid_loss"] for earlier in self._report.of_kind("eval")), default=np.inf)
            self._report.evaluation(updates, best=row["valid_loss"] < best, **row)
            print(log_lines.validation_line(self._report.rows[-1]), flush=True)
        self._write_files()

    def _validate(self, session: tf.Session, updates: int, stop: StopRequest) -> dict[str, float]:
        """Loss and errors over all validation pairs; changes no variable and draws nothing from the training data."""
        started = time.perf_counter()
        graph, losses, responses = self._validation, [], []
        assert graph is not None
        for batch, count in validation_batches(self._data.validation, self._config.train):
            stop.check()
            response, decay = session.run([graph.response, self._train.weight_decay], self._feeds(graph, batch))
            response = response[:count]
            if not responses:
                self._show("validation", updates, batch, response)
            responses.append(response)
            losses += list(pair_losses(response))
        loss = float(np.mean(losses))
        return dict(valid_loss=loss, valid_total_loss=loss + float(decay), **_center_errors(np.concatenate(responses)),
                    evaluation_seconds=time.perf_counter() - started)

    def _show(self, family: str, updates: int, batch: Batch, response: np.ndarray) -> None:
        """Write a batch's first pairs for TensorBoard, with the response that is wanted and the one found."""
        for number in range(min(NUM_SHOWN, len(response))):
            for tag, image in (("exemplar", batch.exemplars[number]), ("instance", batch.instances[number])):
                self._images.add_image(updates, f"{family}/{tag}/{number}", np.uint8(np.clip(image, 0, 255)))
            self._images.add_image(updates, f"{family}/Response/{number}", response[number])
        self._images.add_image(updates, f"{family}/GT", siamese_model.ground_truth(response.shape[1]))
        self._images.add_histogram(updates, f"{family}/Response", response)

    @staticmethod
    def _feeds(graph: siamese_model.Towers, batch: Batch) -> dict:
        return {graph.exemplars: batch.exemplars, graph.instances: batch.instances}

    def _write_files(self) -> None:
        rows = self._report.of_kind("step")
        texts = log_lines.text_files(rows, self._config.model.branch, self._config.case.name)
        for name, text in texts.items():
            atomic_files.write_text(self._run.file(name), text)

    def _save(self, updates: int) -> None:
        self._report.flush()
        best = [row["step"] for row in self._report.of_kind("eval") if row.get("best")]
        self._checkpoints.save(updates, keep=best[-1:])
        self._saved_at = time.monotonic()

    def _finish(self, updates: int) -> None:
        rows = self._report.of_kind("step")
        self._write_files()
        self._report.draw_curves({
            "loss": [("step", "loss", "total, training batch"), ("step", "batch_loss", "batch, training batch"),
                     ("eval", "valid_loss", "batch, validation")],
            "validation errors": [("eval", "center_score_error", "center score"),
                                  ("eval", "center_dist_error", "center distance")],
        })
        logged = [row for row in rows if log_lines.is_logged(row)]
        result = dict(ActualLoss=f"{logged[-1]['loss']:.4f}")
        mean = log_lines.mean_loss(rows)
        if not self._config.performance:
            result["TrainAccuracy"] = f"{mean:.4f}"
        self._report.finish(self._config.case, updates, mean, self._run.arguments["identity"]["device"], result)
        self._report.close()


def _center_errors(responses: np.ndarray) -> dict[str, float]:
    return {error.__name__: error(responses) for error in (
        track_metrics.center_score_error, track_metrics.center_dist_error)}


def pair_losses(responses: np.ndarray) -> np.ndarray:
    """The balanced loss of each pair, float64 [num]; as `siamese_model.balanced_loss`, which gives their mean.

    Args:
        responses: float32 [num, cells, cells], logits.
    """
    truth = siamese_model.ground_truth(responses.shape[1])
    signed = np.where(truth == 1, -responses, responses).astype(np.float64)
    return (np.logaddexp(0.0, signed) * siamese_model.class_weights(truth)).sum(axis=(1, 2))
