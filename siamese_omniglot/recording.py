"""The original's logs and weight files, in logs/ of the run directory."""
from __future__ import annotations

import os
import time
from typing import Any, Mapping, Sequence

from common import atomic_files
from common.plots import figures
from common.run.metrics import GrowingText
from common.run.opening import Run
from siamese_omniglot import log_lines, plots

WEIGHTS_PERIOD = 10  # epochs between weight files
LOGS = "logs"


class OriginalLogs:
    """Writes the original's files from the rows of a run.

    Attributes:
        folder: path of logs/.
        train_loss: mean loss of the epoch so far; NaN before its first step.
        last_loss: loss of the last step.
    """

    def __init__(self, run: Run, steps_per_epoch: int, num_epochs: int):
        """Prepare the logs; the first row creates the files.

        Args:
            run: the open run.
            steps_per_epoch: number of updates in an epoch.
            num_epochs: number of epochs of the schedule.
        """
        self._run, self._num_epochs = run, num_epochs
        self.folder = os.path.join(run.path, LOGS)  # rank 0 makes it when it writes
        self._steps_per_epoch = steps_per_epoch
        self.last_loss, self._loss_sum, self._loss_count = float("nan"), 0.0, 0
        self._epochs: list[Mapping[str, Any]] = []  # rows of the evaluations
        started = time.mktime(time.strptime(run.arguments["started"], "%Y%m%d-%H%M%S"))
        self._step_log = log_lines.StepLog(steps_per_epoch, run.request.flags.batch_size, started)
        self._json_log = GrowingText(os.path.join(self.folder, log_lines.JSON_LOG), "".join(self._step_log.head()))

    @property
    def train_loss(self) -> float:
        return self._loss_sum / self._loss_count if self._loss_count else float("nan")

    def on_row(self, row: Mapping[str, Any], is_replayed: bool) -> None:
        """Write and print the lines of a row; see `loop.Task`."""
        if row["kind"] == "final":
            return
        if row["kind"] == "step":
            if (row["step"] - 1) % self._steps_per_epoch == 0:
                self._loss_sum, self._loss_count = 0.0, 0
            self.last_loss = row["loss"]
            self._loss_sum, self._loss_count = self._loss_sum + row["loss"], self._loss_count + 1
            json_line, line = self._step_log.step(row)
        else:
            self._epochs.append(row)
            json_line, line = self._step_log.validation(row)
        self._json_log.add(json_line)
        if is_replayed:
            return
        print(line, flush=True)
        if row["kind"] == "eval":
            for line in log_lines.epoch_lines(row, self._num_epochs):
                print(line, flush=True)
            self._write_loss_curve()

    def save_weights(self, network: Any, names: Sequence[str]) -> None:
        """Write the weights of the network in Keras' HDF5 format, once per name."""
        temporary = self._run.file(LOGS, f".weights.{os.getpid()}.tmp{log_lines.SUFFIX}")
        for name in names:
            network.chain.save_weights(temporary)
            atomic_files.replace(temporary, os.path.join(self.folder, name))

    def close(self) -> None:
        """Close the JSON log."""
        self._json_log.close()

    def _write_loss_curve(self) -> None:
        folder = os.path.join(LOGS, log_lines.loss_folder(self._run.arguments["started"]))
        for name, text in log_lines.loss_texts(self._epochs).items():
            atomic_files.write_text(self._run.file(folder, name), text)
        plots.draw_losses(figures.plotting(self._run.path, print), self._run.file(folder, "epoch_loss.png"),
                          [row["train_loss"] for row in self._epochs], [row["val_loss"] for row in self._epochs])
