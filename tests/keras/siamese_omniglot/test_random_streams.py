"""Random numbers of many seeds."""
from __future__ import annotations

import numpy as np
import pytest

from siamese_omniglot.data import random_streams


@pytest.mark.parametrize("seed", [(7, 0, 3, 5), (0, 0, 2, 1), (0, 0, 1, 0), (2 ** 32 - 1, 1, 0, 0), [0], [9]])
def test_random_numbers_are_those_of_numpy(seed):
    random, stream = np.random.RandomState(list(seed)), random_streams.NumpyStream()
    stream.start(seed)
    for limit in (1, 25, 2, 106, 64, 65):
        assert [stream.below(limit) for _ in range(20)] == [random.randint(limit) for _ in range(20)]
        assert [stream.random() for _ in range(3)] == random.random_sample(3).tolist()


@pytest.mark.parametrize("num_seeds", [5, 500])
def test_random_numbers_of_many_seeds_are_those_of_numpy(num_seeds):
    seeds = np.random.RandomState(3).randint(0, 2 ** 32, (num_seeds, 4), np.uint64).astype(np.int64)
    seeds[:3, 1:] = [[0, 0, 0], [2 ** 32 - 1, 1, 0], [1, 2, 3]]
    expected = [np.random.RandomState(seed).random_sample(14) for seed in seeds.tolist()]
    assert np.array_equal(random_streams.uniform(seeds, 14), expected)
    assert np.array_equal(random_streams.uniform(seeds[:, :2], 113)[4],
                          np.random.RandomState(seeds[4, :2].tolist()).random_sample(113))
