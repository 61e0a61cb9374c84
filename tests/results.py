"""What a run has left behind, read without the code that wrote it."""
from __future__ import annotations

import json
import os
from typing import Any, Sequence

import numpy as np


def rows(run: Any, kind: str | None = None) -> list[dict[str, Any]]:
    """Return the rows of metrics.jsonl in a run directory, all or those of one kind."""
    with open(os.path.join(str(run), "metrics.jsonl"), encoding="utf-8") as file:
        return [row for row in map(json.loads, file) if kind in (None, row["kind"])]


def losses(run: Any) -> list[float]:
    """Return the losses of a run's steps."""
    return [row["loss"] for row in rows(run, "step")]


def result_file(run: Any, case: str) -> dict[str, str]:
    """Return the entries of a run's result file, in their order."""
    with open(os.path.join(str(run), f"{case}.log"), encoding="utf-8") as file:
        return dict(line.rstrip("\n").split(" = ") for line in file)


def variables_in(prefix: Any) -> dict[str, np.ndarray]:
    """Return all variables of a checkpoint, by name."""
    from common.graph.compat import tf

    reader = tf.train.load_checkpoint(str(prefix))
    return {name: np.asarray(reader.get_tensor(name)) for name in reader.get_variable_to_shape_map()}


def last_variables(run: Any) -> dict[str, np.ndarray]:
    """Return all variables of a run's newest checkpoint, by name."""
    from common.checkpoints.bundle import steps_in

    folder = os.path.join(str(run), "ckpt")
    return variables_in(os.path.join(folder, f"model.ckpt-{steps_in(folder)[-1]}"))


def assert_same_variables(run: Any, other: Any) -> None:
    """The newest checkpoints of two runs must hold the same variables, bit for bit."""
    one, two = last_variables(run), last_variables(other)
    assert set(one) == set(two)
    assert [name for name in one if one[name].tobytes() != two[name].tobytes()] == []


def assert_nearly_same_variables(run: Any, other: Any, limit: float, ignored: Sequence[str] = ()) -> None:
    """In the newest checkpoints of two runs, the norm of a variable's difference must be within a share of its norm.

    Adam's averages show wrong gradients even where small steps hide them in the weights.

    Args:
        run: a run directory.
        other: another one.
        limit: the share.
        ignored: parts of the names of variables that are not compared.
    """
    one, two = ({name: value.astype(np.float64) for name, value in last_variables(path).items()
                 if not any(part in name for part in ignored)} for path in (run, other))
    assert set(one) == set(two)
    shares = {name: np.linalg.norm(one[name] - two[name]) / max(np.linalg.norm(two[name]), 1e-30) for name in one}
    assert len(shares) > 5 and {name: share for name, share in shares.items() if share > limit} == {}


def events_in(folder: Any) -> list[Any]:
    """Return all TensorBoard events of a folder, file by file."""
    from common.graph.compat import tf

    return [event for name in sorted(os.listdir(str(folder))) if name.startswith("events.out")
            for event in tf.train.summary_iterator(os.path.join(str(folder), name))]
