"""What rank 0 records of a run: rows, lines, evaluations, checkpoints, weight files and curves."""
from __future__ import annotations

import os
import time
from typing import Any, Sequence

from common import atomic_files
from common.cli.program import StopRequest
from common.keras import compat, record
from common.run.setup import OpenRun
from siamese_omniglot import evaluation, log_lines, loss_curve
from siamese_omniglot.data.omniglot import DrawingStore
from siamese_omniglot.data.pairs import VALIDATION, Pairs, PairSampler
from siamese_omniglot.training import Config, Model
from siamese_omniglot.update import Outcome

WEIGHTS_PERIOD = 10  # epochs between weight files
LOGS = "logs"


class Helper(record.Record):
    """The record of another rank: on NPUs it computes what rank 0 evaluates."""

    def __init__(self, config: Config, store: DrawingStore, sampler: PairSampler):
        self._store, self._pairs = store, _validation_pairs(config, sampler)
        self._scorer: evaluation.Scorer

    def start(self, model: Model) -> int:
        self._scorer = evaluation.Scorer(model.network)
        return 0

    def evaluate(self, updates: int) -> None:
        evaluation.pair_logits(self._scorer, self._store, self._pairs, lambda: None)


def _validation_pairs(config: Config, sampler: PairSampler) -> Pairs:
    num = max(1, sampler.num_drawings // config.batch_size) * config.batch_size
    return sampler.draw(num, VALIDATION, 0, "sample")


class Record(record.RunRecord):
    """The record of rank 0."""

    def __init__(self, config: Config, store: DrawingStore, sampler: PairSampler, opened: OpenRun, stop: StopRequest):
        super().__init__(opened, stop, config.save_seconds, config.init_checkpoint)
        self._config = config
        self._is_alone = config.case.ranks == 1
        self._num_epochs = config.schedule.num_epochs
        self._store = store
        self._pairs = _validation_pairs(config, sampler)
        self._logs = self._run.folder(LOGS)
        began = time.mktime(time.strptime(self._run.arguments["started"], "%Y%m%d-%H%M%S"))
        self._step_log = log_lines.StepLog(config.steps_per_epoch, config.batch_size, began)
        self._model: Model
        self._scorer: evaluation.Scorer

    def start(self, model: Model) -> int:
        self._model = model
        self._scorer = evaluation.Scorer(model.network)
        slots = compat.optimizer_variables(model.optimizer)
        step = self._open(model.network.named_variables(),
                          {f"optimizer/{number:03d}": slot for number, slot in enumerate(slots)}, model.updates)
        self._json_log = open(os.path.join(self._logs, log_lines.JSON_LOG), "w",  # noqa: SIM115 - closed in finish
                              encoding="utf-8", buffering=1)
        self._json_log.writelines(self._step_log.head())
        for row in self._report.rows:
            line = self._step_log.step(row) if row["kind"] == "step" else self._step_log.validation(row)
            self._json_log.write(line[0])
        return step

    def step(self, updates: int, *measured: Any) -> None:
        """Record a step: what it measured, its learning rate, the seconds of its data and of its computation."""
        outcome: Outcome
        outcome, rate, (data_seconds, compute_seconds) = measured
        self._report.step(updates, unix_seconds=time.time(), loss=outcome.loss, accuracy=outcome.accuracy,
                          learning_rate=rate, data_seconds=data_seconds, compute_seconds=compute_seconds,
                          forward_seconds=outcome.forward_seconds, backward_seconds=outcome.backward_seconds,
                          update_seconds=outcome.update_seconds, step_seconds=data_seconds + compute_seconds)
        self._write(self._step_log.step(self._report.rows[-1]))

    def evaluate(self, updates: int) -> None:
        """Evaluate on the validation pairs."""
        self.save(updates)
        print("Finish Train\nStart Validation", flush=True)
        self._evaluate(updates)

    def is_over(self) -> bool:
        """Whether the validation loss has not fallen for as many epochs as --early_stop says."""
        rows = self._report.of_kind("eval")
        since_best = len(rows) - max(number for number, row in enumerate(rows, 1) if row["best"])
        is_over = 0 < self._config.early_stop <= since_best
        if is_over:
            print(f"Early stop: no better validation loss for {since_best} epochs.")
            self._save_weights([log_lines.epoch_weights_name(rows[-1])])
        return is_over

    def _evaluate(self, updates: int) -> None:
        started = time.perf_counter()
        check = self._stop.check if self._is_alone else (lambda: None)  # others would wait for ever
        logits = evaluation.pair_logits(self._scorer, self._store, self._pairs, check)
        found = evaluation.pair_result(logits, self._pairs.labels, self._config.switches.head)
        epoch = -(-updates // self._config.steps_per_epoch)
        first = (epoch - 1) * self._config.steps_per_epoch
        losses = [row["loss"] for row in self._report.of_kind("step") if first < row["step"] <= updates]
        best = min((row["val_loss"] for row in self._report.of_kind("eval")), default=float("inf"))
        row: dict[str, Any] = dict(
            epoch=epoch, unix_seconds=time.time(), train_loss=sum(losses) / len(losses), val_loss=found.loss,
            val_accuracy=found.accuracy, val_accuracy_error=found.accuracy_error, val_eer=found.eer, val_auc=found.auc,
            num_pairs=found.num_pairs, best=found.loss <= best, evaluation_seconds=time.perf_counter() - started)
        names = [log_lines.LAST]
        if found.loss <= best:
            names.append(log_lines.BEST)
        if epoch % WEIGHTS_PERIOD == 0 or updates == self._config.num_updates:
            names.append(log_lines.epoch_weights_name(row))
        self._save_weights(names)
        self._report.evaluation(updates, **row)
        self._write(self._step_log.validation(self._report.rows[-1]))
        for line in log_lines.epoch_lines(row, self._num_epochs):
            print(line, flush=True)
        self._write_curves()

    def _save_weights(self, names: Sequence[str]) -> None:
        for name in names:
            path = os.path.join(self._logs, name)
            temporary = os.path.join(self._logs, f".weights.{os.getpid()}.tmp{log_lines.SUFFIX}")  # Keras wants its end
            self._model.network.chain.save_weights(temporary)
            atomic_files.replace(temporary, path)

    def _write_curves(self) -> None:
        rows = self._report.of_kind("eval")
        folder = os.path.join(LOGS, log_lines.loss_folder(self._run.arguments["started"]))
        for name, text in log_lines.loss_texts(rows).items():
            atomic_files.write_text(self._run.file(folder, name), text)
        loss_curve.draw(self._report.pyplot(), self._run.file(folder, "epoch_loss.png"),
                        [row["train_loss"] for row in rows], [row["val_loss"] for row in rows])

    def _write(self, lines: tuple[str, str]) -> None:
        self._json_log.write(lines[0])
        print(lines[1], flush=True)

    def finish(self, updates: int) -> None:
        """Write results and curves, print the last lines."""
        rows = self._report.of_kind("eval")
        last = rows[-1] if rows else {}
        loss = last.get("train_loss", self._report.of_kind("step")[-1]["loss"])
        result = dict(ActualLoss=f"{loss:.4f}")
        if rows:
            result["TrainAccuracy"] = f"{last['val_accuracy']:.4f}"
        self._report.draw_curves({
            "loss": [("step", "loss", "training batch"), ("eval", "val_loss", "validation")],
            "pair accuracy": [("step", "accuracy", "training batch"), ("eval", "val_accuracy", "validation")],
            "equal error rate": [("eval", "val_eer", "validation")],
        })
        self._json_log.close()
        device = self._run.arguments["identity"]["device"]
        self._report.finish(self._config.case, updates, last.get("val_accuracy"), device, result)
        self._report.close()
        print(f"Logs and weights: {self._logs}", flush=True)
