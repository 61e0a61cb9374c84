"""Batches of one size, so that a single graph computes all of them (NPUs compile a graph for every shape)."""
from __future__ import annotations

import numpy as np


def full_batches(num: int, size: int, wrap: bool = False) -> np.ndarray:
    """Divide rows 0 to num - 1 into full batches, int64 [batches, size]; drop the results of the padding with `[:num]`.

    The last batch repeats the last row or, to `wrap` as batch statistics require, the first rows.
    """
    rows = np.arange(-(-num // size) * size)
    return (rows % num if wrap else np.minimum(rows, num - 1)).reshape(-1, size)
