"""Batches of augmented pairs, prepared in advance by threads."""
from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from siamese_omniglot.data import augmentation
from siamese_omniglot.data.omniglot import DrawingStore
from siamese_omniglot.data.pairs import TRAIN, PairSampler


class PairImages(NamedTuple):
    """A batch of pairs.

    Attributes:
        first: uint8 [num, 105, 105], 0 (ink) to 255.
        second: the other drawings, like `first`.
        labels: float32 [num], 1 for pairs of one character, 0 for others.
    """

    first: np.ndarray
    second: np.ndarray
    labels: np.ndarray


class Batches:
    """Makes a worker's part of every batch."""

    def __init__(self, store: DrawingStore, sampler: PairSampler, recipe: BatchRecipe):
        self._store, self._sampler, self._recipe = store, sampler, recipe

    def make(self, step: int) -> PairImages:
        """Make this worker's part of the batch of the step after `step` updates."""
        recipe = self._recipe
        part, num = recipe.positions, 2 * recipe.batch_size
        drawn = self._sampler.draw(recipe.batch_size, TRAIN, step, recipe.permute, part)
        images = self._store.take(np.concatenate([drawn.first, drawn.second]))
        if recipe.augment != "none":
            for row, position in enumerate(np.concatenate([part, part + num])):
                random = np.random.RandomState([recipe.seed, TRAIN, step, position])
                images[row] = augmentation.augment(images[row], recipe.augment, random)
        return PairImages(images[:len(part)], images[len(part):], drawn.labels)


class BatchRecipe(NamedTuple):
    """Settings of the batches."""

    batch_size: int  # samples of two pairs in a step, over all workers
    seed: int
    augment: str  # see augmentation.augment
    permute: str  # see PairSampler.draw
    positions: np.ndarray  # int64 [num], positions of this worker's pairs in the batch of all workers


class Ahead:
    """Prepares batches in threads before they are needed."""

    def __init__(self, batches: Batches, num_threads: int, num_updates: int):
        """Start the threads.

        Args:
            batches: makes the batches.
            num_threads: number of threads, each of which makes whole batches; 0 makes them on demand.
            num_updates: number of updates of the run; no batches are made beyond it.
        """
        self._batches, self._num_threads, self._num_updates = batches, num_threads, num_updates
        self._pool = ThreadPoolExecutor(num_threads) if num_threads else None
        self._made: dict[int, Future] = {}

    def get(self, step: int) -> PairImages:
        """Return the batch of the step after `step` updates. Call it for one step after the other."""
        if self._pool is None:
            return self._batches.make(step)
        for number in range(step, min(step + self._num_threads + 1, self._num_updates)):
            if number not in self._made:
                self._made[number] = self._pool.submit(self._batches.make, number)
        return self._made.pop(step).result()

    def close(self) -> None:
        """Stop the threads."""
        if self._pool:
            self._pool.shutdown()
