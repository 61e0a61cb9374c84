"""Plots of an evaluation, and the loss curve of a run."""
from __future__ import annotations

import os
from typing import Any, Mapping, Sequence

import numpy as np
from scipy.signal import savgol_filter

from common.checkpoints.trained import Checkpoint
from common.evaluation.roc import roc
from common.plots import figures
from common.run import metrics
from common.run.run_dir import read_arguments
from siamese_omniglot import log_lines

_POLYNOMIAL_ORDER = 3
_MANY_EPOCHS = 25


def draw_evaluation(checkpoint: Checkpoint, logits: np.ndarray, labels: np.ndarray, result: Mapping[str, Any]) -> None:
    """Draw roc.png, and one_shot.png if the official runs were evaluated.

    Logits and labels of the pairs are float32 [num], labels 1 for one character; `result` goes into evaluation.json.
    """
    pyplot = figures.plotting()
    if pyplot is None:
        return
    curve = roc(-logits, labels > 0.5)
    title = f"accuracy {result['pairs']['accuracy']:.4f}, EER {result['pairs']['eer']:.4f}"
    figures.draw_roc(pyplot, checkpoint.file("roc.png"), checkpoint.title(title),
                     (curve.false_accept, curve.true_accept), result["pairs"]["auc"])
    if "official_one_shot" not in result:
        return
    official = result["official_one_shot"]
    figure, axis = pyplot.subplots(figsize=(figures.WIDTH, 4))
    axis.bar(list(official["runs"]), list(official["runs"].values()))
    axis.axhline(official["error_rate"], color="black", label=f"mean {official['error_rate']:.4f}")
    axis.set_xlabel("official run")
    axis.set_ylabel("error rate")
    axis.set_title(checkpoint.title(f"one-shot error rate {official['error_rate']:.4f}"))
    axis.tick_params(axis="x", rotation=90)
    axis.legend()
    figures.save_figure(figure, checkpoint.file("one_shot.png"))


def draw_run(run_path: str) -> None:
    """Draw epoch_loss.png beside the losses that logs/ has of a run."""
    rows = list(metrics.read_rows(run_path, "eval"))
    pyplot = figures.plotting() if rows else None
    folder = log_lines.loss_folder(read_arguments(run_path)["started"])
    draw_losses(pyplot, os.path.join(run_path, log_lines.LOGS, folder, "epoch_loss.png"),
                [row["train_loss"] for row in rows], [row["val_loss"] for row in rows])


def draw_losses(pyplot: Any, path: str, train_losses: Sequence[float], val_losses: Sequence[float]) -> None:
    """Plot the losses of the epochs, and smoothed ones if there are enough epochs; without pyplot do nothing."""
    if pyplot is None:
        return
    window = 5 if len(train_losses) < _MANY_EPOCHS else 15
    figure, axis = pyplot.subplots(figsize=(figures.WIDTH, 5))
    epochs = range(1, len(train_losses) + 1)
    for losses, name, color, smooth_color in ((train_losses, "train loss", "red", "green"),
                                              (val_losses, "val loss", "coral", "#8B4513")):
        axis.plot(epochs, losses, color, linewidth=2, label=name)
        if len(losses) >= window:
            axis.plot(epochs, savgol_filter(losses, window, _POLYNOMIAL_ORDER), smooth_color, linestyle="--",
                      linewidth=2, label=f"smooth {name}")
    figures.whole_steps(axis, "Epoch")
    axis.set_ylabel("Loss")
    axis.set_title("A Loss Curve")
    axis.legend(loc="upper right")
    figures.save_figure(figure, path)
