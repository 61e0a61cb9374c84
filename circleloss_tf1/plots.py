"""Pictures of a verification: ROC, distances, the pairs that are furthest wrong."""
from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from circleloss_tf1.lfw import Pairs
from common.data import images
from common.evaluation.verification import Verification
from common.plots import figures, image_grid

NUM_WORST = 10


def worst_pairs(found: Verification, pairs: Pairs, threshold: float, num: int = NUM_WORST) -> list[int]:
    """Return the pairs on the wrong side of a threshold, those furthest from it first."""
    beyond = np.where(pairs.is_same, found.distances - threshold, threshold - found.distances)
    order = np.argsort(-beyond, kind="stable")[:num]
    return [int(pair) for pair in order if beyond[pair] >= 0.0]


def draw_roc(pyplot: Any, path: str, found: Verification) -> None:
    """Draw the mean ROC of the folds."""
    if pyplot is None:
        return
    figure, axis = pyplot.subplots(figsize=(5, 5))
    axis.plot(found.false_positive_rates, found.true_positive_rates, linewidth=1)
    axis.plot([0, 1], [0, 1], linewidth=0.5, linestyle="--", color="gray")
    axis.set_xlabel("false accept rate")
    axis.set_ylabel("true accept rate")
    axis.set_title(f"accuracy {found.accuracies.mean():.4f}, EER {found.equal_error_rate:.4f}")
    figures.save_figure(figure, path)


def draw_distances(pyplot: Any, path: str, found: Verification, pairs: Pairs) -> None:
    """Draw the histogram of the distances of same and of different pairs."""
    if pyplot is None:
        return
    figure, axis = pyplot.subplots(figsize=(6, 4))
    edges = np.linspace(0.0, float(found.distances.max()) or 1.0, 61)
    for label, chosen in (("same", pairs.is_same), ("different", ~pairs.is_same)):
        axis.hist(found.distances[chosen], bins=edges, alpha=0.6, label=label)
    axis.axvline(float(found.accuracy_thresholds.mean()), linewidth=1, color="black", label="threshold")
    axis.set_xlabel("distance")
    axis.legend()
    figures.save_figure(figure, path)


def draw_pairs(path: str, pairs: Pairs, found: Verification, chosen: Sequence[int]) -> None:
    """Draw the images of some pairs, a pair a row, with what they are and how far apart."""
    rows = []
    for pair in chosen:
        texts = ("same" if pairs.is_same[pair] else "different", f"distance {found.distances[pair]:.3f}")
        cells = []
        for name, text in zip(pairs.paths[2 * pair:2 * pair + 2], texts):
            cells.append(image_grid.Cell(np.asarray(images.open_image(name, "RGB")), text))
        rows.append(cells)
    image_grid.draw(path, "pairs furthest wrong", rows)
