"""The original's plot of the losses."""
from __future__ import annotations

from typing import Any, Sequence

from scipy.signal import savgol_filter

from common.plots import figures

_ORDER = 3
_MANY_EPOCHS = 25


def draw(pyplot: Any, path: str, train_losses: Sequence[float], val_losses: Sequence[float]) -> None:
    """Plot the losses of the epochs, and smoothed ones if there are enough epochs.

    Args:
        pyplot: matplotlib.pyplot, or None to draw nothing.
        path: path of the PNG file.
        train_losses: training loss by epoch.
        val_losses: validation loss by epoch.
    """
    if pyplot is None:
        return
    window = 5 if len(train_losses) < _MANY_EPOCHS else 15
    figure, axis = pyplot.subplots(figsize=(figures.WIDTH, 5))
    epochs = range(1, len(train_losses) + 1)
    for losses, name, color, smooth_color in ((train_losses, "train loss", "red", "green"),
                                              (val_losses, "val loss", "coral", "#8B4513")):
        axis.plot(epochs, losses, color, linewidth=2, label=name)
        if len(losses) >= window:
            axis.plot(epochs, savgol_filter(losses, window, _ORDER), smooth_color, linestyle="--", linewidth=2,
                      label=f"smooth {name}")
    figures.whole_steps(axis, "Epoch")
    axis.set_ylabel("Loss")
    axis.set_title("A Loss Curve")
    axis.legend(loc="upper right")
    figures.save_figure(figure, path)
