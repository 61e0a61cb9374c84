"""Lines and files that users of the original read, made from the rows of metrics.jsonl and the run's arguments."""
from __future__ import annotations

import io
from typing import Any, Mapping

import numpy as np

from common import atomic_files
from common.run.metrics import GrowingText, Row
from common.run.opening import Run

# arrays of stat.h5, and the keys of their values in the rows
STEP_STATISTICS = {"loss": "loss", "center_loss": "center_loss", "reg_loss": "regularisation_loss",
                   "xent_loss": "circle_loss", "prelogits_norm": "prelogits_norm", "accuracy": "accuracy"}
EPOCH_STATISTICS = {"learning_rate": "learning_rate", "lfw_accuracy": "lfw_accuracy", "lfw_valrate": "lfw_val_rate",
                    "time_train": "time_train", "time_validate": "time_validate", "time_evaluate": "time_evaluate"}
VALIDATION_STATISTICS = {"val_loss": "validation_loss", "val_xent_loss": "validation_circle_loss",
                         "val_accuracy": "validation_accuracy"}


def step_line(row: Mapping[str, Any]) -> str:
    """Return what a step prints."""
    return (f"epoch : {row['epoch']}----step : {row['step']}----loss : {row['loss']}----sec/step : "
            f"{row['step_seconds']}")


def lfw_lines(row: Mapping[str, Any]) -> list[str]:
    """Return what an evaluation on LFW prints; the original does not print the last line."""
    return [f"Accuracy: {row['lfw_accuracy']:2.5f}+-{row['lfw_accuracy_std']:2.5f}",
            f"Validation rate: {row['lfw_val_rate']:2.5f}+-{row['lfw_val_std']:2.5f} @ FAR={row['lfw_far']:2.5f}",
            f"Equal error rate: {row['lfw_equal_error_rate']:2.5f}"]


class RowFiles:
    """The text files and stat.h5 that the rows make. Neither memory nor the work of `write` grows with the rows."""

    def __init__(self, run: Run):
        self._run, self._validate_every = run, run.request.flags.validate_every_n_epochs
        self._num_epochs = -(-run.request.num_updates // run.request.flags.epoch_size)
        lengths = ((STEP_STATISTICS, run.request.num_updates), (EPOCH_STATISTICS, self._num_epochs),
                   (VALIDATION_STATISTICS, -(-self._num_epochs // self._validate_every)))
        self._arrays = {name: np.zeros(length, np.float32) for names, length in lengths for name in names}
        self._histograms = np.zeros((self._num_epochs, 0), np.float32)  # [epochs, bins] after the first evaluation
        self._step_times = GrowingText(run.file("step_time_list.txt"))
        self._losses = GrowingText(run.file(f"{run.request.case_name}_loss.txt"))
        self._lfw_results = GrowingText(run.file("lfw_result.txt"))
        self._num_steps, self._total_seconds = 0, 0.0
        self.best_accuracy: float | None = None  # of LFW

    def add(self, row: Row) -> None:
        """Add the next row of the run; when the run is resumed its rows are added again from the first."""
        if row["kind"] == "step":
            self._add_step(row)
        elif row["kind"] == "eval":
            self._add_evaluation(row)

    def _add_step(self, row: Row) -> None:
        for name, key in STEP_STATISTICS.items():
            self._arrays[name][row["step"] - 1] = row[key]
        self._step_times.add(f"{row['step_seconds']}\n")
        self._losses.add(f" {row['loss']}\n")
        self._num_steps += 1
        self._total_seconds += row["step_seconds"]

    def _add_evaluation(self, row: Row) -> None:
        epoch, histogram = row["epoch"] - 1, row["prelogits_histogram"]
        if not self._histograms.size:
            self._histograms = np.zeros((self._num_epochs, len(histogram)), np.float32)
        self._histograms[epoch] = histogram
        for name, key in EPOCH_STATISTICS.items():
            self._arrays[name][epoch] = row.get(key, 0.0)
        for name, key in VALIDATION_STATISTICS.items():
            if key in row:
                self._arrays[name][epoch // self._validate_every] = row[key]
        if "lfw_accuracy" in row:
            self._lfw_results.add(f"{row['step']}\t{row['lfw_accuracy']:.5f}\t{row['lfw_val_rate']:.5f}\n")
            if self.best_accuracy is None or row["lfw_accuracy"] > self.best_accuracy:
                self.best_accuracy = row["lfw_accuracy"]

    def write(self) -> None:
        """Write the files that do not grow line by line: StepTime.txt, train_accuracy.txt and stat.h5."""
        import h5py

        mean_seconds = self._total_seconds / self._num_steps if self._num_steps else "n/a"
        atomic_files.write_text(self._run.file("StepTime.txt"), f"{mean_seconds}\n")
        accuracy = "n/a" if self.best_accuracy is None else self.best_accuracy
        atomic_files.write_text(self._run.file("train_accuracy.txt"), f"{accuracy}\n")
        content = io.BytesIO()
        with h5py.File(content, "w") as file:  # float32 arrays of the whole run, 0 for what is still to come
            for name, array in dict(self._arrays, prelogits_hist=self._histograms).items():
                file.create_dataset(name, data=array)
        atomic_files.write_bytes(self._run.file("stat.h5"), content.getvalue())

    def close(self) -> None:
        """Close the files that grow line by line."""
        for text in (self._step_times, self._losses, self._lfw_results):
            text.close()


def write_texts(run: Run) -> None:
    """Write arguments.txt, a line `name: value` for each flag, and revision_info.txt."""
    lines = [f"{name}: {value}\n" for name, value in run.arguments["flags"].items()]
    atomic_files.write_text(run.file("arguments.txt"), "".join(lines))
    rule = "--------------------"
    atomic_files.write_text(run.file("revision_info.txt"), f"arguments: {' '.join(run.request.arguments)}\n{rule}\n"
                            f"tensorflow version: {run.arguments['versions']['tensorflow']}\n{rule}\n"
                            f"git hash: {run.arguments['git_revision']}\n{rule}\n")
