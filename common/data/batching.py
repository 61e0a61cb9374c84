"""Rows in batches of one size, so that one graph computes all of them (NPUs compile a graph for every shape)."""
from __future__ import annotations

import numpy as np


def full_batches(num: int, size: int, wrap: bool = False) -> np.ndarray:
    """Divide rows 0 to num - 1 into full batches. Results of the rows that fill the last one are cut off, `[:num]`.

    Args:
        num: rows.
        size: rows in a batch.
        wrap: fill the last batch with rows from the beginning, as batch statistics call for, instead of repeating the
            last row.

    Returns:
        int64 [batches, size].
    """
    rows = np.arange(-(-num // size) * size)
    return (rows % num if wrap else np.minimum(rows, num - 1)).reshape(-1, size)
