"""Plots of a verification: ROC, distances, the worst pairs."""
from __future__ import annotations

import itertools
from typing import Any, Sequence

import numpy as np

from circleloss_tf1.lfw import Pairs, Verification
from circleloss_tf1.thresholds import Thresholds
from common.checkpoints.trained import Checkpoint
from common.data import image_search
from common.evaluation import roc
from common.plots import figures, ranking

NUM_WORST = 5  # of both kinds


def worst_pairs(verified: Verification, pairs: Pairs, threshold: float, num: int = NUM_WORST) -> list[int]:
    """Return the pairs on the wrong side of a threshold, those farthest from it first, up to `num` of both kinds."""
    beyond = np.where(pairs.is_same, verified.distances - threshold, threshold - verified.distances)
    wrong = [int(pair) for pair in np.argsort(-beyond, kind="stable") if beyond[pair] >= 0.0]
    kept = {pair for kind in (True, False) for pair in [pair for pair in wrong if pairs.is_same[pair] == kind][:num]}
    return [pair for pair in wrong if pair in kept]


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
    num_bins = int(np.clip(2 * np.sqrt(len(pairs.is_same)), 10, 60))
    edges = np.linspace(0.0, float(verified.distances.max()) or 1.0, num_bins + 1)
    for label, chosen in (("same", pairs.is_same), ("different", ~pairs.is_same)):
        axis.hist(verified.distances[chosen], bins=edges, alpha=0.6, label=f"{label} ({int(chosen.sum())} pairs)")
    for name, value, line in (("best accuracy", thresholds.best_accuracy, "-"),
                              (f"FAR {thresholds.far:g}", thresholds.at_far, "--")):
        axis.axvline(value, color="black", linestyle=line, label=f"threshold {value:.3f}, {name}")
    axis.set_xlabel("distance of the embeddings")
    axis.set_ylabel("pairs")
    axis.yaxis.get_major_locator().set_params(integer=True)
    axis.set_title(checkpoint.title(f"accuracy {verified.accuracies.mean():.4f}"))
    axis.legend()
    figures.save_figure(figure, checkpoint.file("distances.png"))


def draw_pairs(pyplot: Any, checkpoint: Checkpoint, pairs: Pairs, verified: Verification, chosen: Sequence[int]
               ) -> None:
    """Draw worst_pairs.png: on the left pairs that are taken for different, on the right those taken for the same."""
    lines = []
    for left, right in itertools.zip_longest(*([pair for pair in chosen if pairs.is_same[pair] == kind]
                                               for kind in (True, False))):
        lines.append([*_cells(pairs, verified, left), None, *_cells(pairs, verified, right)])
    title = "same but far apart (left), different but close (right)" if lines else "no pair is wrong"
    ranking.draw_lines(pyplot, checkpoint.file("worst_pairs.png"), checkpoint.title(title), lines,
                       image_search.thumbnail)


def _cells(pairs: Pairs, verified: Verification, pair: int | None) -> list[ranking.Cell | None]:
    if pair is None:
        return [None, None]
    kind = "the same" if pairs.is_same[pair] else "different"
    texts = (kind, f"distance {verified.distances[pair]:.3f}")
    paths = pairs.paths[2 * pair:2 * pair + 2]
    return [ranking.Cell(path, text, bool(pairs.is_same[pair])) for path, text in zip(paths, texts)]
