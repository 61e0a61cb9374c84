"""What the original prints, and its files in logs/ of the run directory, from the rows of metrics.jsonl."""
from __future__ import annotations

import os
import time
from typing import Any, Mapping, Sequence

from common import atomic_files, console
from common.run.metrics import GrowingText
from common.run.opening import Run

LOGS = "logs"
WEIGHTS_PERIOD = 10  # epochs between weight files
SUFFIX = ".weights.h5"  # Keras 3 refuses names that end otherwise
HDF5_BYTES = 1_000_000  # besides the weights; more than a file needs
BEST, LAST = f"best_epoch_weights{SUFFIX}", f"last_epoch_weights{SUFFIX}"

TRAIN_KEYS = {  # key of the JSON-line log: key of a step's row, unit
    "total_loss": ("loss", ""), "accuracy": ("accuracy", ""), "train.lr": ("learning_rate", ""),
    "train.data_time": ("data_seconds", "s"), "train.compute_time": ("compute_seconds", "s"),
    "train.fp_time": ("forward_seconds", "s"), "train.bp_time": ("backward_seconds", "s"),
    "train.grad_time": ("update_seconds", "s"), "train.ips": ("step_seconds", "imgs/s"),
}
_MEAN_KEYS = tuple(source for source, _ in TRAIN_KEYS.values() if source != "learning_rate")
IMAGES_PER_SAMPLE = {"pairs": 4, "n_pair": 2}  # by loss; two pairs, which share their drawings for n_pair
JSON_LOG = "dlloger_example.json"  # the original's spelling
_MARK = "TCAPPDLL"


class OriginalLogs:
    """Writes the original's files from the rows of a run, and prints its lines."""

    def __init__(self, run: Run, steps_per_epoch: int, num_epochs: int):
        """Prepare the logs; the first row creates the files."""
        self._run, self._steps_per_epoch, self._num_epochs = run, steps_per_epoch, num_epochs
        self.folder = os.path.join(run.path, LOGS)  # rank 0 makes it when it writes
        self.last_loss = float("nan")  # of the last step
        self._num, self._sums = 0, dict.fromkeys(_MEAN_KEYS, 0.0)  # over the epoch so far
        started = time.mktime(time.strptime(run.arguments["started"], "%Y%m%d-%H%M%S"))
        head = [_json_line(started, 0.0, dict(type="METADATA", metric=key, metadata=dict(unit=unit)))
                for key, (_, unit) in TRAIN_KEYS.items()]
        self._json_log = GrowingText(os.path.join(self.folder, JSON_LOG), "".join(head))
        losses = os.path.join(self.folder, loss_folder(run.arguments["started"]))
        self._losses = {key: GrowingText(os.path.join(losses, name)) for key, name in (
            ("train_loss", "epoch_loss.txt"), ("val_loss", "epoch_val_loss.txt"))}

    @property
    def train_loss(self) -> float:
        """Mean loss of the epoch so far; NaN before its first step."""
        return self._sums["loss"] / self._num if self._num else float("nan")

    def on_row(self, row: Mapping[str, Any], is_replayed: bool) -> None:
        """Write and print the lines of a row; see `loop.Task`."""
        if row["kind"] == "final":
            return
        epoch, iteration = divmod(row["step"] - 1, self._steps_per_epoch)
        if row["kind"] == "step":
            if iteration == 0:
                self._num, self._sums = 0, dict.fromkeys(_MEAN_KEYS, 0.0)
            self.last_loss = row["loss"]
            self._num += 1
            for key in _MEAN_KEYS:
                self._sums[key] += row[key]
            values = self._means(row)
        else:
            for key, text in self._losses.items():
                text.add(f"{row[key]}\n")
            seconds = row["evaluation_seconds"]
            values = {key: f"{value:.6f}" for key, value in dict(
                val_loss=row["val_loss"], val_accuracy=row["val_accuracy"], val_ips=2 * row["num_pairs"] / seconds,
                val_time=seconds).items()}
        moment = row["unix_seconds"]
        self._json_log.add(_json_line(moment, row["seconds"], dict(type="LOG", step=[epoch, iteration],
                                                                   data=str(values))))
        if is_replayed:
            return
        words = " ".join(f" {key} : {value} {TRAIN_KEYS.get(key, ('', ''))[1]}" for key, value in values.items())
        console.detail(f"{_MARK} {_written(moment)} - Epoch: {epoch} Iteration: {iteration} {words}")
        if row["kind"] == "eval":
            for line in epoch_lines(row, self._num_epochs):
                console.detail(line)

    def save_weights(self, network: Any, names: Sequence[str]) -> None:
        """Write the weights of the network in Keras' HDF5 format, once per name.

        Raises OSError if the disk is full. HDF5 is not left to find this out, as it crashes at the exit of the process.
        """
        temporary = self._run.file(LOGS, f".weights.{os.getpid()}.tmp{SUFFIX}")
        num_bytes = 4 * network.chain.count_params() + HDF5_BYTES
        for name in names:
            atomic_files.require_space(self.folder, num_bytes)
            network.chain.save_weights(temporary)
            atomic_files.replace(temporary, os.path.join(self.folder, name))

    def close(self) -> None:
        """Close the files."""
        for text in (self._json_log, *self._losses.values()):
            text.close()

    def _means(self, last: Mapping[str, Any]) -> dict[str, str]:
        means = {}
        for key, (source, _) in TRAIN_KEYS.items():
            if key == "train.lr":
                means[key] = f"{last[source]:.6g}"
            elif key == "train.ips":
                means[key] = f"{self._num * self._run.request.images_per_step / self._sums[source]:.3f}"
            else:
                means[key] = f"{self._sums[source] / self._num:.6f}"
        return means


def _json_line(moment: float, elapsed: float, content: Mapping[str, Any]) -> str:
    """Return a line of the JSON-line log, about a moment in Unix time and the seconds of training until then."""
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


def epoch_weights_name(row: Mapping[str, Any]) -> str:
    """Return the name of the file with the weights of an epoch."""
    return f"ep{row['epoch']:03d}-loss{row['train_loss']:.3f}-val_loss{row['val_loss']:.3f}{SUFFIX}"


def loss_folder(started: str) -> str:
    """Return the name of the folder of the loss curves for the start of a run, `YYYYmmdd-HHMMSS`."""
    return time.strftime("loss_%Y_%m_%d_%H_%M_%S", time.strptime(started, "%Y%m%d-%H%M%S"))
