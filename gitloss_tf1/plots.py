"""The scatter plot of the 2-D features with their centers, as in the paper."""
from __future__ import annotations

from typing import Any

import numpy as np

from common.plots import figures
from gitloss_tf1.mnist import NUM_CLASSES


def draw(pyplot: Any, path: str, features: np.ndarray, labels: np.ndarray, centers: np.ndarray, title: str) -> None:
    """Write a PNG.

    Args:
        pyplot: from `figures.plotting`; None draws nothing.
        path: the file to write.
        features: float32 [num, 2].
        labels: int64 [num].
        centers: float32 [10, 2], drawn as their digits; rows with NaN are left out.
        title: text above the plot.
    """
    if pyplot is None:
        return
    figure, axis = pyplot.subplots(figsize=(figures.WIDTH, figures.WIDTH))
    colours = pyplot.get_cmap("tab10").colors
    for label in range(NUM_CLASSES):
        points = features[labels == label]
        axis.scatter(points[:, 0], points[:, 1], s=2, color=colours[label], rasterized=True)
    for label, center in enumerate(centers):
        if np.isfinite(center).all():
            axis.scatter(*center, s=300, color="white", edgecolors=[colours[label]], zorder=3)
            axis.text(*center, str(label), ha="center", va="center", fontsize=13, zorder=4, in_layout=False)
    axis.set_title(title)
    axis.set_xlabel("feature 0")
    axis.set_ylabel("feature 1")
    figures.save_figure(figure, path)
