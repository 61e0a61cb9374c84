"""The scatter plot of the 2-D features with their centers, as in the paper."""
from __future__ import annotations

import os
import re
from typing import Any

import numpy as np

from common.plots import figures
from common.run.run_dir import read_arguments
from gitloss_tf1.mnist import NUM_CLASSES


def draw_run(run_path: str) -> None:
    """Draw plots/features-<step>.png of the evaluations whose features are there, and remove these features."""
    folder = os.path.join(run_path, "plots")
    matches = map(re.compile(r"features-(\d+)\.npz").fullmatch, os.listdir(folder) if os.path.isdir(folder) else [])
    steps = sorted(int(match.group(1)) for match in matches if match)
    pyplot = figures.plotting() if steps else None
    if pyplot is None:
        return
    identity = read_arguments(run_path)["identity"]
    for step in steps:
        path = os.path.join(folder, f"features-{step}")
        with np.load(f"{path}.npz") as saved:
            draw(pyplot, f"{path}.png", saved["features"], saved["labels"], saved["centers"],
                 f"{identity.get('model')}, {identity.get('recipe')}, step {step}: training images and centers")
        os.remove(f"{path}.npz")


def draw(pyplot: Any, path: str, features: np.ndarray, labels: np.ndarray, centers: np.ndarray, title: str) -> None:
    """Write a PNG of features, float32 [num, 2], in the colours of their labels, int64 [num].

    Centers, float32 [10, 2], are drawn as their digits; rows with NaN are left out. `pyplot` is from
    `figures.plotting`; None draws nothing.
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
    axis.set_title(figures.wrapped(title))
    axis.set_xlabel("feature 0")
    axis.set_ylabel("feature 1")
    figures.save_figure(figure, path)
