"""The lines that the original prints and logs, from the rows of metrics.jsonl."""
from __future__ import annotations

import time
from typing import Any, Mapping, Sequence

from common import atomic_files

TRAIN_KEYS = {  # key of the JSON-line log: key of a step's row, unit
    "total_loss": ("loss", ""), "accuracy": ("accuracy", ""), "train.lr": ("learning_rate", ""),
    "train.data_time": ("data_seconds", "s"), "train.compute_time": ("compute_seconds", "s"),
    "train.fp_time": ("forward_seconds", "s"), "train.bp_time": ("backward_seconds", "s"),
    "train.grad_time": ("update_seconds", "s"), "train.ips": ("step_seconds", "imgs/s"),
}
IMAGES_PER_SAMPLE = 4  # two pairs
JSON_LOG = "dlloger_example.json"  # the original's spelling
_MARK = "TCAPPDLL"


class StepLog:
    """Lines of the JSON log and of the terminal, with running means over the epoch."""

    def __init__(self, steps_per_epoch: int, batch_size: int, began: float):
        """Start a log.

        Args:
            steps_per_epoch: number of updates in an epoch.
            batch_size: number of samples in an update.
            began: start of the run, Unix time in seconds.
        """
        self._steps_per_epoch, self._batch_size, self._began = steps_per_epoch, batch_size, began
        self._rows: list[Mapping[str, Any]] = []

    def head(self) -> list[str]:
        """Return the first lines of the file: every metric and its unit."""
        return [self._json(self._began, 0.0, dict(type="METADATA", metric=key, metadata=dict(unit=unit)))
                for key, (_, unit) in TRAIN_KEYS.items()]

    def step(self, row: Mapping[str, Any]) -> tuple[str, str]:
        """Return the lines of a step for the file and for the terminal. Call it for one step after the other.

        Args:
            row: of metrics.jsonl. `unix_seconds` is when the step was made, `seconds` the training time until then.
        """
        epoch, iteration = divmod(row["step"] - 1, self._steps_per_epoch)
        if iteration == 0:
            self._rows = []
        self._rows.append(row)
        return self._both(row, epoch, iteration, self._means())

    def validation(self, row: Mapping[str, Any]) -> tuple[str, str]:
        """Return the lines of an evaluation for the file and for the terminal."""
        epoch, iteration = divmod(row["step"] - 1, self._steps_per_epoch)
        values = dict(val_loss=row["val_loss"], val_accuracy=row["val_accuracy"],
                      val_ips=2 * row["num_pairs"] / row["evaluation_seconds"], val_time=row["evaluation_seconds"])
        return self._both(row, epoch, iteration, {key: f"{value:.6f}" for key, value in values.items()})

    def _means(self) -> dict[str, str]:
        num, last = len(self._rows), self._rows[-1]
        means = {}
        for key, (source, _) in TRAIN_KEYS.items():
            if key == "train.lr":
                means[key] = f"{last[source]:.6g}"
            elif key == "train.ips":
                seconds = sum(row["step_seconds"] for row in self._rows)
                means[key] = f"{num * self._batch_size * IMAGES_PER_SAMPLE / seconds:.3f}"
            else:
                means[key] = f"{sum(row[source] for row in self._rows) / num:.6f}"
        return means

    def _both(self, row: Mapping[str, Any], epoch: int, iteration: int, values: Mapping[str, str]) -> tuple[str, str]:
        words = " ".join(f" {key} : {value} {TRAIN_KEYS.get(key, ('', ''))[1]}" for key, value in values.items())
        moment = row["unix_seconds"]
        return (self._json(moment, row["seconds"], dict(type="LOG", step=[epoch, iteration], data=str(dict(values)))),
                f"{_MARK} {_written(moment)} - Epoch: {epoch} Iteration: {iteration} {words}")

    @staticmethod
    def _json(moment: float, elapsed: float, content: Mapping[str, Any]) -> str:
        stamps = dict(timestamp=f"{moment:.6f}", elapsedtime=f"{elapsed:.6f}", datetime=_written(moment))
        return f"{_MARK} {atomic_files.to_json(dict(stamps, **content))}\n"


def _written(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def epoch_lines(row: Mapping[str, Any], num_epochs: int) -> list[str]:
    """Return what is printed after an evaluation, the original's lines first."""
    lines = ["Finish Validation", f"Epoch:{row['epoch']}/{num_epochs}",
             f"Total Loss: {row['train_loss']:.3f} || Val Loss: {row['val_loss']:.3f} "]
    if row["best"]:
        lines.append(f"Save best model to {BEST}")
    return [*lines, f"Pair accuracy: {row['val_accuracy']:.4f} +- {row['val_accuracy_error']:.4f} ({row['num_pairs']} "
            f"pairs), EER {row['val_eer']:.4f}, AUC {row['val_auc']:.4f}"]


SUFFIX = ".weights.h5"  # Keras 3 refuses names that end otherwise
BEST, LAST = f"best_epoch_weights{SUFFIX}", f"last_epoch_weights{SUFFIX}"


def epoch_weights_name(row: Mapping[str, Any]) -> str:
    """Return the name of the file with the weights of an epoch."""
    return f"ep{row['epoch']:03d}-loss{row['train_loss']:.3f}-val_loss{row['val_loss']:.3f}{SUFFIX}"


def loss_folder(started: str) -> str:
    """Return the name of the folder of the loss curves for the start of a run, `YYYYmmdd-HHMMSS`."""
    return time.strftime("loss_%Y_%m_%d_%H_%M_%S", time.strptime(started, "%Y%m%d-%H%M%S"))


def loss_texts(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the contents of the loss files by name, one line per evaluation."""
    return {"epoch_loss.txt": "".join(f"{row['train_loss']}\n" for row in rows),
            "epoch_val_loss.txt": "".join(f"{row['val_loss']}\n" for row in rows)}
