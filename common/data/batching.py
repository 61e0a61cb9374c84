"""Batches of one size, so that a single graph computes all of them (NPUs compile a graph for every shape)."""
from __future__ import annotations

import numpy as np


def full_batches(num: int, size: int, wrap: bool = False) -> np.ndarray:
    """Divide rows 0 to num - 1 into full batches. The caller drops the results of the padding, with `[:num]`.

    Args:
        num: number of rows.
        size: rows per batch.
        wrap: pad the last batch with the first rows, as batch statistics require, instead of repeating the last row.

    Returns:
        int64 [batches, size].
    """
    rows = np.arange(-(-num // size) * size)
    return (rows % num if wrap else np.minimum(rows, num - 1)).reshape(-1, size)
