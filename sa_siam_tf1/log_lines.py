"""The printed lines and text files that users of the original read, made from the rows of metrics.jsonl."""
from __future__ import annotations

import datetime
from typing import Any, Mapping, Sequence

LOG_INTERVAL = 10  # steps between printed lines
SUMMARY_INTERVAL = 100  # steps between lines of the table, and between images for TensorBoard
TABLE_HEAD = "Step,Loss,batch_loss\n"


def start_lines(init_method: str, variables: Sequence[str]) -> list[str]:
    """Return the lines that are printed before training; `variables` are those that are trained."""
    method = None if init_method == "xavier_uniform" else init_method  # as the original calls its default
    return [f"embedding init method -- {method}", *(f"-- {name}" for name in variables)]


def step_line(row: Mapping[str, Any], batch_size: int, num_updates: int) -> str:
    """Return the line that is printed for a step of a run of `num_updates`; it counts steps from 0."""
    step, seconds = row["step"] - 1, row["step_seconds"]
    remaining = int((num_updates - step) * seconds)
    return (f"{datetime.datetime.now()}: step {step}, total loss = {row['loss']:.2f} batch loss = "
            f"{row['batch_loss']:.2f} ( {batch_size / seconds:.1f} examples/sec; {seconds:.3f} sec/batch; "
            f"{remaining // 3600}h:{remaining // 60 % 60:02d}m:{remaining % 60:02d}s remains)")


def table_line(row: Mapping[str, Any]) -> str:
    """Return the line of the table for a step."""
    return f"step {row['step'] - 1},{row['loss']:.6f},{row['batch_loss']:.6f}\n"


def validation_line(row: Mapping[str, Any]) -> str:
    """Return the line that is printed for a validation."""
    return (f"step {row['step']}, validation: batch loss = {row['valid_loss']:.4f}, center score error = "
            f"{row['center_score_error']:.4f}, center distance error = {row['center_dist_error']:.4f}")
