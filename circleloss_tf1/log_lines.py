"""Lines that users of the original read in the log, made from the rows of metrics.jsonl."""
from __future__ import annotations

from typing import Any, Mapping

from common.evaluation.verification import Thresholds


def step_line(row: Mapping[str, Any]) -> str:
    """Return what a step prints."""
    return (f"epoch : {row['epoch']}----step : {row['step']}----loss : {row['loss']}----sec/step : "
            f"{row['step_seconds']}")


def lfw_lines(row: Mapping[str, Any]) -> list[str]:
    """Return what an evaluation on LFW prints; the original does not print the last line."""
    return [f"Accuracy: {row['lfw_accuracy']:2.5f}+-{row['lfw_accuracy_std']:2.5f}",
            f"Validation rate: {row['lfw_val_rate']:2.5f}+-{row['lfw_val_std']:2.5f} @ FAR={row['lfw_far']:2.5f}",
            f"Equal error rate: {row['lfw_equal_error_rate']:2.5f}"]


def thresholds_line(thresholds: Thresholds) -> str:
    """Return the line about the thresholds that a pair can be judged by."""
    chosen = "best accuracy" if thresholds.chosen_by == "accuracy" else f"FAR {thresholds.far:g}"
    return (f"Thresholds: {thresholds.best_accuracy:.4f} (best accuracy), {thresholds.at_far:.4f} (FAR "
            f"{thresholds.far:g}); predict.py uses that of the {chosen}")


def far_warning(thresholds: Thresholds) -> str:
    """Return the warning about a FAR that the pairs cannot resolve."""
    return (f"Warning: {thresholds.num_different} different pairs cannot resolve FAR {thresholds.far:g}, which accepts "
            f"{thresholds.far * thresholds.num_different:.2g} of them; take more pairs or a larger --far")
