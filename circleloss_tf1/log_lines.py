"""Lines and files that users of the original read, made from the rows of metrics.jsonl. No TensorFlow."""
from __future__ import annotations

import io
from typing import Any, Mapping, Sequence

import numpy as np

STEP_STATISTICS = {"loss": "loss", "center_loss": "center_loss", "reg_loss": "regularisation_loss",
                   "xent_loss": "circle_loss", "prelogits_norm": "prelogits_norm", "accuracy": "accuracy"}
EPOCH_STATISTICS = {"learning_rate": "learning_rate", "lfw_accuracy": "lfw_accuracy", "lfw_valrate": "lfw_val_rate",
                    "time_train": "time_train", "time_validate": "time_validate", "time_evaluate": "time_evaluate"}
VALIDATION_STATISTICS = {"val_loss": "validation_loss", "val_xent_loss": "validation_circle_loss",
                         "val_accuracy": "validation_accuracy"}


def step_line(row: Mapping[str, Any]) -> str:
    """What a step prints."""
    return (f"epoch : {row['epoch']}----step : {row['step']}----loss : {row['loss']}----sec/step : "
            f"{row['step_seconds']}")


def lfw_lines(row: Mapping[str, Any]) -> list[str]:
    """What an evaluation on LFW prints; the last line is not the original's."""
    return [f"Accuracy: {row['lfw_accuracy']:2.5f}+-{row['lfw_accuracy_std']:2.5f}",
            f"Validation rate: {row['lfw_val_rate']:2.5f}+-{row['lfw_val_std']:2.5f} @ FAR={row['lfw_far']:2.5f}",
            f"Equal error rate: {row['lfw_equal_error_rate']:2.5f}"]


def text_files(steps: Sequence[Mapping[str, Any]], evaluations: Sequence[Mapping[str, Any]], case_name: str
               ) -> dict[str, str]:
    """The text files of a run, by name.

    Args:
        steps: rows of the steps, in order.
        evaluations: rows of the epochs' ends, in order.
        case_name: CaseName of the run.
    """
    times = [row["step_seconds"] for row in steps]
    with_lfw = [row for row in evaluations if "lfw_accuracy" in row]
    files = {"step_time_list.txt": "".join(f"{time}\n" for time in times),
             "StepTime.txt": f"{sum(times) / len(times)}\n" if times else "n/a\n",
             f"{case_name}_loss.txt": "".join(f" {row['loss']}\n" for row in steps),
             "train_accuracy.txt": f"{max(row['lfw_accuracy'] for row in with_lfw)}\n" if with_lfw else "n/a\n"}
    if with_lfw:
        files["lfw_result.txt"] = "".join(f"{row['step']}\t{row['lfw_accuracy']:.5f}\t{row['lfw_val_rate']:.5f}\n"
                                          for row in with_lfw)
    return files


def statistics_file(steps: Sequence[Mapping[str, Any]], evaluations: Sequence[Mapping[str, Any]], num_updates: int,
                    num_epochs: int, validate_every: int) -> bytes:
    """Return stat.h5: float32 arrays of the whole run, 0 where it has not come to yet.

    Args:
        steps: rows of the steps.
        evaluations: rows of the epochs' ends.
        num_updates: updates of the run.
        num_epochs: epochs of the run.
        validate_every: epochs between validations.
    """
    import h5py

    arrays = {name: np.zeros(num_updates, np.float32) for name in STEP_STATISTICS}
    arrays.update({name: np.zeros(num_epochs, np.float32) for name in EPOCH_STATISTICS})
    arrays.update({name: np.zeros(-(-num_epochs // validate_every), np.float32) for name in VALIDATION_STATISTICS})
    bins = len(evaluations[-1]["prelogits_histogram"]) if evaluations else 0
    arrays["prelogits_hist"] = np.zeros((num_epochs, bins), np.float32)
    for row in steps:
        for name, key in STEP_STATISTICS.items():
            arrays[name][row["step"] - 1] = row[key]
    for row in evaluations:
        epoch = row["epoch"] - 1
        arrays["prelogits_hist"][epoch] = row["prelogits_histogram"]
        for name, key in EPOCH_STATISTICS.items():
            arrays[name][epoch] = row.get(key, 0.0)
        for name, key in VALIDATION_STATISTICS.items():
            if key in row:
                arrays[name][epoch // validate_every] = row[key]
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array)
    return content.getvalue()
