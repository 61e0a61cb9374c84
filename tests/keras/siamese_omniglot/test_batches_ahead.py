"""Batches that are made before they are needed, by processes or by a thread."""
from __future__ import annotations

import numpy as np
import pytest

from common.errors import ZooError
from siamese_omniglot.data import omniglot
from siamese_omniglot.data.batches import Batches, ProcessesAhead, ThreadAhead


@pytest.fixture(scope="module")
def data(tiny_folder):
    return omniglot.load(omniglot.find(tiny_folder, "/"))


@pytest.mark.parametrize("num_processes", [0, 1, 2])
def test_batches_of_processes_are_the_same(data, num_processes):
    """From any step on, and each batch for itself: those before it are overwritten."""
    sampler = omniglot.PairSampler(data, np.arange(120), 0, False)
    batches = Batches(data.store, sampler, 2, 0, "imagenet", "batch", np.arange(1, 4))
    ahead = ProcessesAhead(batches, num_processes, num_updates=12)
    for step in range(3, 12):
        for found, expected in zip(ahead.get(step), batches.make(step)):
            assert np.array_equal(found, expected)
    processes = ahead._processes
    assert len(processes) == num_processes and all(process.poll() is None for process in processes)
    ahead.close()
    assert all(process.returncode == 0 for process in processes)


def test_a_process_that_died_is_reported(data):
    sampler = omniglot.PairSampler(data, np.arange(120), 0, False)
    batches = Batches(data.store, sampler, 2, 0, "imagenet", "batch", np.arange(4))
    ahead = ProcessesAhead(batches, 2, num_updates=100)
    ahead.get(0)
    for process in ahead._processes:
        process.kill()
        process.wait()
    with pytest.raises(ZooError, match="a process that prepares batches has died.*--num_workers=0 works without"):
        for step in range(1, 9):
            ahead.get(step)
    ahead.close()


@pytest.mark.parametrize("augment", ["affine", "none"])
def test_changes_made_ahead_are_the_same(data, augment):
    """From any step on, across the ends of what is made at once, each batch as if it were made alone."""
    sampler = omniglot.PairSampler(data, np.arange(120), 0, False)
    batches = Batches(data.store, sampler, 2, 0, augment, "batch", np.arange(4))
    ahead = ThreadAhead(batches, num_updates=125)
    ahead.num_at_once = 60  # 480 drawings
    for step in range(58, 125):
        alone = batches.make_changes([step])[0]
        for found, expected in zip(ahead.get(step), alone):
            assert found.dtype == expected.dtype and np.array_equal(found, expected)
    assert alone.changes.shape == (8, 6 if augment == "affine" else 0)
    ahead.close()
