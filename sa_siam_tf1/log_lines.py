"""Lines and files that users of the original read, made from the rows of metrics.jsonl. No TensorFlow."""
from __future__ import annotations

import datetime
from typing import Any, Mapping, Sequence

LOG_INTERVAL = 10  # steps
SUMMARY_INTERVAL = 100  # of rows of the table, and of images for TensorBoard
AVERAGED_LINES = 10


def start_lines(init_method: str, variables: Sequence[str]) -> list[str]:
    """What a run prints before it trains: the original's lines.

    Args:
        init_method: of the model's configuration; the original calls its default None.
        variables: names of those that are trained.
    """
    method = None if init_method == "xavier_uniform" else init_method
    return [f"embedding init method -- {method}", *(f"-- {name}" for name in variables)]


def step_line(row: Mapping[str, Any], batch_size: int, num_updates: int) -> str:
    """What a step prints: the original's line, its step counted from 0.

    Args:
        row: the step's row of metrics.jsonl.
        batch_size: pairs in a step.
        num_updates: of the run.
    """
    step, seconds = row["step"] - 1, row["step_seconds"]
    remaining = int((num_updates - step) * seconds)
    return (f"{datetime.datetime.now()}: step {step}, total loss = {row['loss']:.2f} batch loss = "
            f"{row['batch_loss']:.2f} ( {batch_size / seconds:.1f} examples/sec; {seconds:.3f} sec/batch; "
            f"{remaining // 3600}h:{remaining // 60 % 60:02d}m:{remaining % 60:02d}s remains)")


def is_logged(row: Mapping[str, Any]) -> bool:
    """Whether a step prints its line."""
    return (row["step"] - 1) % LOG_INTERVAL == 0


def validation_line(row: Mapping[str, Any]) -> str:
    """What a validation prints."""
    return (f"step {row['step']}, validation: batch loss = {row['valid_loss']:.4f}, center score error = "
            f"{row['center_score_error']:.4f}, center distance error = {row['center_dist_error']:.4f}")


def mean_loss(rows: Sequence[Mapping[str, Any]]) -> float:
    """Mean total loss of the last ten logged steps: what the original calls its accuracy."""
    losses = [row["loss"] for row in rows if is_logged(row)][-AVERAGED_LINES:]
    return sum(losses) / len(losses)


def text_files(rows: Sequence[Mapping[str, Any]], branch: str, case_name: str) -> dict[str, str]:
    """The text files of a run, by name.

    Args:
        rows: rows of the steps.
        branch: names the table of losses.
        case_name: CaseName of the run.
    """
    table = ["Step,Loss,batch_loss\n"]
    table += [f"step {row['step'] - 1},{row['loss']:.6f},{row['batch_loss']:.6f}\n" for row in rows
              if (row["step"] - 1) % SUMMARY_INTERVAL == 0]
    losses = [f"{row['loss']:.2f}\n" for row in rows if is_logged(row)]
    return {f"{branch}_npu.csv": "".join(table), f"{case_name}_loss.txt": "".join(losses)}
