"""Batches of one size."""
from __future__ import annotations

from common.data.batching import full_batches


def test_the_last_batch_repeats_its_last_row():
    assert full_batches(5, 2).tolist() == [[0, 1], [2, 3], [4, 4]]
    assert full_batches(4, 2).tolist() == [[0, 1], [2, 3]]
    assert full_batches(1, 3).tolist() == [[0, 0, 0]]


def test_the_last_batch_wraps_around():
    assert full_batches(5, 2, wrap=True).tolist() == [[0, 1], [2, 3], [4, 0]]
    assert full_batches(2, 5, wrap=True).tolist() == [[0, 1, 0, 1, 0]]


def test_no_rows_no_batches():
    assert full_batches(0, 4).shape == full_batches(0, 4, wrap=True).shape == (0, 4)
