"""Plots of a verification: ROC, distances, the worst pairs."""
from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from circleloss_tf1.lfw import Pairs
from common.checkpoints.trained import Checkpoint
from common.data import images
from common.evaluation import roc
from common.evaluation.verification import Thresholds, Verification
from common.plots import figures, image_grid

NUM_WORST = 10


def worst_pairs(verified: Verification, pairs: Pairs, threshold: float, num: int = NUM_WORST) -> list[int]:
    """Return the pairs on the wrong side of a threshold, those farthest from it first."""
    beyond = np.where(pairs.is_same, verified.distances - threshold, threshold - verified.distances)
    order = np.argsort(-beyond, kind="stable")[:num]
    return [int(pair) for pair in order if beyond[pair] >= 0.0]


def draw_roc(pyplot: Any, checkpoint: Checkpoint, verified: Verification, pairs: Pairs) -> None:
    """Draw roc.png, the ROC over all pairs."""
    curve = roc.roc(verified.distances, pairs.is_same)
    title = f"accuracy {verified.accuracies.mean():.4f}, EER {verified.equal_error_rate:.4f}"
    figures.draw_roc(pyplot, checkpoint.file("roc.png"), checkpoint.title(title),
                     (curve.false_accept, curve.true_accept), roc.area(curve))


def draw_distances(pyplot: Any, checkpoint: Checkpoint, verified: Verification, pairs: Pairs, thresholds: Thresholds
                   ) -> None:
    """Draw distances.png, the histogram of the distances of same and of different pairs with both thresholds."""
    if pyplot is None:
        return
    figure, axis = pyplot.subplots(figsize=(figures.WIDTH, 5))
    edges = np.linspace(0.0, float(verified.distances.max()) or 1.0, 61)
    for label, chosen in (("same", pairs.is_same), ("different", ~pairs.is_same)):
        axis.hist(verified.distances[chosen], bins=edges, alpha=0.6, label=f"{label} ({int(chosen.sum())} pairs)")
    for name, value, line in (("best accuracy", thresholds.best_accuracy, "-"),
                              (f"FAR {thresholds.far:g}", thresholds.at_far, "--")):
        axis.axvline(value, color="black", linestyle=line, label=f"threshold {value:.3f}, {name}")
    axis.set_xlabel("distance of the embeddings")
    axis.set_ylabel("pairs")
    axis.set_title(checkpoint.title(f"accuracy {verified.accuracies.mean():.4f}"))
    axis.legend()
    figures.save_figure(figure, checkpoint.file("distances.png"))


def draw_pairs(path: str, pairs: Pairs, verified: Verification, chosen: Sequence[int]) -> None:
    """Draw the images of some pairs, a pair per row, with their kind and distance."""
    rows = []
    for pair in chosen:
        texts = ("same" if pairs.is_same[pair] else "different", f"distance {verified.distances[pair]:.3f}")
        cells = []
        for name, text in zip(pairs.paths[2 * pair:2 * pair + 2], texts):
            cells.append(image_grid.Cell(np.asarray(images.open_image(name, "RGB")), text))
        rows.append(cells)
    image_grid.draw(path, "pairs furthest wrong", rows)
