"""What rank 0 records of a run: rows, lines, evaluations, checkpoints and curves."""
from __future__ import annotations

import time
from typing import Any

from common import atomic_files
from common.cli.program import StopRequest
from common.keras import checkpoints, compat, record
from common.run import metrics
from common.run.setup import OpenRun
from siamese_triplet_tf2 import evaluation, log_lines
from siamese_triplet_tf2.model import variable_names
from siamese_triplet_tf2.pairs import Sampler
from siamese_triplet_tf2.training import Config, Model

LOG_STEPS = 50


class Helper(record.Record):
    """The record of another rank: on NPUs it computes what rank 0 evaluates."""

    def __init__(self, config: Config, num_pairs: int):
        self._config, self._num_pairs = config, num_pairs
        self._sampler = Sampler(num_pairs, config.seed, config.split, config.switches.negatives)
        self._model: Model

    def start(self, model: Model) -> int:
        self._model, self._tail = model, evaluation.compiled(model.embedding.tail)
        return 0

    def evaluate(self, updates: int) -> None:
        triplets = self._sampler.validation(-(-updates // self._config.steps_per_epoch) - 1)
        numbers = evaluation.images_needed(triplets, self._sampler.validation_pairs(), self._num_pairs)
        evaluation.embed(self._tail, self._model.features, numbers)


class Record(record.RunRecord):
    """The record of rank 0."""

    def __init__(self, config: Config, num_pairs: int, opened: OpenRun, stop: StopRequest):
        super().__init__(opened, stop, config.save_seconds, config.init_checkpoint)
        self._config, self._num_pairs = config, num_pairs
        self._is_alone = config.case.ranks == 1
        self._sampler = Sampler(num_pairs, config.seed, config.split, config.switches.negatives)
        self._model: Model

    def start(self, model: Model) -> int:
        self._model = model
        whole = model.embedding.whole
        self._tail = evaluation.compiled(model.embedding.tail)
        slots = compat.optimizer_variables(model.optimizer)
        return self._open(checkpoints.named(variable_names(whole), whole.weights),
                          {f"Adam/{number:03d}": slot for number, slot in enumerate(slots)}, model.updates)

    def step(self, updates: int, *measured: Any) -> None:
        """Record a step: its mean loss, its triplets, its seconds."""
        loss, num_triplets, seconds = measured
        self._report.step(updates, loss=loss, triplets=num_triplets, step_seconds=seconds)
        if updates % LOG_STEPS == 0:
            recent = [row["step_seconds"] for row in self._report.of_kind("step")[-LOG_STEPS:]]
            print(log_lines.time_history(updates - LOG_STEPS, updates, self._config.batch_size, sum(recent)),
                  flush=True)

    def evaluate(self, updates: int) -> None:
        """Evaluate on the validation triplets and pairs."""
        self.save(updates)
        epoch = -(-updates // self._config.steps_per_epoch)
        first = (epoch - 1) * self._config.steps_per_epoch
        rows = [row for row in self._report.of_kind("step") if first < row["step"] <= updates]
        train_loss = sum(row["loss"] * row["triplets"] for row in rows) / sum(row["triplets"] for row in rows)
        earlier = self._report.of_kind("eval")
        values: dict[str, Any] = dict(epoch=epoch, steps_per_epoch=self._config.steps_per_epoch, train_loss=train_loss)
        started = time.perf_counter()
        triplets, pairs = self._sampler.validation(epoch - 1), self._sampler.validation_pairs()
        numbers = evaluation.images_needed(triplets, pairs, self._num_pairs)
        check = self._stop.check if self._is_alone else (lambda: None)  # others would wait for ever
        embeddings = evaluation.embed(self._tail, self._model.features, numbers, check)
        values.update(evaluation.measure(numbers, embeddings, triplets, pairs, self._num_pairs))
        values["evaluation_seconds"] = time.perf_counter() - started
        values["epoch_seconds"] = sum(row["step_seconds"] for row in rows) + values["evaluation_seconds"]
        best = max((row["triplet_accuracy"] for row in earlier), default=-1.0)
        values["best"] = values["triplet_accuracy"] > best
        self._report.evaluation(updates, **values)
        num_epochs = -(-self._config.num_updates // self._config.steps_per_epoch)
        for line in (*log_lines.epoch_lines(values, num_epochs), log_lines.metric_line(values)):
            print(line, flush=True)
        self._write_losses()

    def _write_losses(self) -> None:
        text = log_lines.loss_text(self._report.of_kind("eval"))
        atomic_files.write_text(self._run.file(f"train_{self._config.case.name}_loss.txt"), text)

    def finish(self, updates: int) -> None:
        """Write results and curves, print the last lines."""
        rows = self._report.of_kind("eval")
        last = rows[-1] if rows else {}
        loss = last.get("train_loss", self._report.of_kind("step")[-1]["loss"])
        accuracy = last.get("triplet_accuracy")
        step_seconds = self._report.step_seconds()
        # milliseconds, and with the suffix of the shapes in a speed run, as the original has it
        suffix = f"_{'static' if self._config.static_shape else 'dynamic'}" if self._config.performance else ""
        result = dict(CaseName=self._config.case.name + suffix,
                      TrainingTime=metrics.number(step_seconds and 1e3 * step_seconds, 3),
                      TrainAccuracy=metrics.number(accuracy, 4), ActualLoss=f"{loss:.4f}")
        self._write_losses()
        self._report.draw_curves({
            "loss": [("step", "loss", "training batch"), ("eval", "valid_loss", "validation")],
            "triplet accuracy": [("eval", "triplet_accuracy", "validation")],
            "recall": [("eval", "cosine_recall_at_1", "at 1"), ("eval", "cosine_recall_at_10", "at 10")],
        })
        print(f"Final Training Duration sec : {round(self._report.seconds())}")
        device = self._run.arguments["identity"]["device"]
        self._report.finish(self._config.case, updates, accuracy, device, result)
        self._report.close()
