"""What the comparisons of SA-Siam share: values by the rule of tests/golden/sa_siam/rule.py, arrays in parts."""
from __future__ import annotations

import numpy as np

from common.graph.compat import assign, tf
from tests.parity.comparison import Comparison, FixtureError, Taker, load_rule

EMBEDDING = 1e-4  # tolerance of features and responses, of their largest value
RULE = load_rule("sa_siam")


def set_by_rule(session: tf.Session, detection_bias: float | None = None) -> None:
    """Give all variables their values by the rule."""
    assign(session, {variable: RULE.var_value(variable.op.name, variable.shape.as_list(), detection_bias)
                     for variable in tf.global_variables() if variable.op.name != "train/global_step"})


def assembled(features) -> np.ndarray:
    """Put a tower's maps into the one array of the original: padded with zeros to the largest, side by side."""
    largest = max(found.shape[1] for found in features)
    padded = []
    for found in features:
        before = (largest - found.shape[1]) // 2
        after = largest - found.shape[1] - before
        padded.append(np.pad(found, [(0, 0), (before, after), (before, after), (0, 0)], mode="constant"))
    return np.concatenate(padded, axis=3)


def take_array(take: Taker, comparison: Comparison, group: str, key: str, found: np.ndarray, tolerance: float,
                absolute: bool = False) -> None:
    """Shape, five statistics and 200 samples of an array, and the array itself where it is recorded."""
    shape, stats, sample = (take(f"{key}/{part}") for part in ("shape", "stats", "sample"))
    if list(shape) != list(found.shape):
        raise FixtureError(f"{key}: shape {list(shape)}, the model gives {list(found.shape)}")
    scale = 1.0 if absolute else float(max(abs(stats[2]), abs(stats[3])))
    values = found.astype(np.float64)
    statistics = [values.mean(), values.std(), values.min(), values.max(), np.linalg.norm(values)]
    for number, (one, other) in enumerate(zip(statistics, stats)):
        error = abs(one - other) / (scale if number < 4 else max(1.0, other) * (1 if absolute else 1))
        comparison.add(group, f"{key}/stats[{number}]", error, tolerance)
    picked = values.reshape(-1)[RULE.sample_idx(values.size)]
    comparison.add(group, f"{key}/sample", float(np.abs(picked - sample).max()) / scale, tolerance)
    if f"{key}/full" in take:
        comparison.add(group, f"{key}/full", float(np.abs(values - take(f"{key}/full")).max()) / scale, tolerance)
