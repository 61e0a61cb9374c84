"""Lines that users of the original read in the log, made from the rows of metrics.jsonl."""
from __future__ import annotations

from typing import Any, Mapping


def step_line(row: Mapping[str, Any]) -> str:
    """Return what a step prints."""
    return (f"epoch : {row['epoch']}----step : {row['step']}----loss : {row['loss']}----sec/step : "
            f"{row['step_seconds']}")


def lfw_lines(row: Mapping[str, Any]) -> list[str]:
    """Return what an evaluation on LFW prints; the original does not print the last line."""
    return [f"Accuracy: {row['lfw_accuracy']:2.5f}+-{row['lfw_accuracy_std']:2.5f}",
            f"Validation rate: {row['lfw_val_rate']:2.5f}+-{row['lfw_val_std']:2.5f} @ FAR={row['lfw_far']:2.5f}",
            f"Equal error rate: {row['lfw_equal_error_rate']:2.5f}"]
