"""Lines and files that users of the original read, made from the rows of metrics.jsonl."""
from __future__ import annotations

from typing import Any, Mapping, Sequence

RESULTS_FILE = "loss+perf_gpu.txt"


def evaluation_lines(row: Mapping[str, Any], num_train: int, num_batches: int, performance: bool) -> list[str]:
    """Return the lines that an evaluation prints; a speed run has no validation. Batches are full ones."""
    head = f"Step: {row['printed_step']}"
    train = f"Train_Loss: {row['train_loss']:.4f} , Train_Acc: {row['train_accuracy']:.4f}"
    distances = f"inter_cls_dist: {row['inter_cls_dist']:.4f} , intra_cls_dist: {row['intra_cls_dist']:.4f}"
    time = f"train_time: {row['train_time']:.4f}"
    counts = [f"========num_train_samples======= {num_train}", f"========num_of_batches======= {num_batches}"]
    if performance:
        return [*counts, f"{head}, Epoch: {row['evaluation']}, {train} ,  {distances} , {time}"]
    valid = f"Valid_Loss: {row['valid_loss']:.4f} , Valid_Acc: {row['valid_accuracy']:.4f}"
    return [*counts, f"{head}, {train} , {valid} , {distances} , {time}",
            f"Test_Acc: {row['test_accuracy']:.4f} , inter_cls_dist_current: {row['inter_cls_dist_current']:.4f}"]


def text_files(rows: Sequence[Mapping[str, Any]], device_id: str, case_name: str, performance: bool) -> dict[str, str]:
    """Return the text files of a run, by name, from the rows of its evaluations.

    The original leaves the first evaluation out of the times and losses, and writes nan with fewer than two; here every
    evaluation counts.
    """
    valid = {} if performance else dict(Valid_Loss="valid_loss", Valid_Acc="valid_accuracy")
    keys = dict(Train_Loss="train_loss", Train_Acc="train_accuracy", **valid, inter_cls_dist="inter_cls_dist",
                intra_cls_dist="intra_cls_dist")
    times = [row["train_time"] for row in rows]
    files = {
        RESULTS_FILE: "".join(  # with the original's line break before `train_time`
            f"Step:\t{row['printed_step']}, " + (f"Epoch: {row['evaluation']}, " if performance else "")
            + ", ".join(f"{label}:\t{row[key]:.4f}" for label, key in keys.items())
            + f"\n , train_time:\t{row['train_time']:.4f}\n" for row in rows),
        f"train_{device_id}_traintime.txt": "".join(f"{time:.4f}\n" for time in times),
        f"train_{device_id}_traintime_avg.txt": f"Avg =  {sum(times) / len(times):.4f}\n",
        f"train_{case_name}_loss.txt": "".join(f"{row['train_loss']:.4f}\n" for row in rows),
    }
    if performance:
        files[f"train_{case_name}_acc.txt"] = "".join(f"{row['train_accuracy']:.4f}\n" for row in rows)
    return files
