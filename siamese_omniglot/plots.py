"""Plots of an evaluation."""
from __future__ import annotations

from typing import Any, Mapping

import numpy as np

from common.checkpoints.trained import Checkpoint
from common.evaluation.roc import roc
from common.plots import figures


def draw(checkpoint: Checkpoint, logits: np.ndarray, labels: np.ndarray, result: Mapping[str, Any]) -> None:
    """Draw roc.png, and one_shot.png if the official runs were evaluated.

    Args:
        checkpoint: the evaluated checkpoint, whose output folder gets the plots.
        logits: float32 [num], logits of the pairs.
        labels: float32 [num], 1 for pairs of one character.
        result: the content of evaluation.json.
    """
    pyplot = figures.plotting(checkpoint.output_folder)
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
