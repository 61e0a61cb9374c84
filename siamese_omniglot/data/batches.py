"""Batches of pairs for training: with images, or with what a device needs to make the images itself."""
from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from siamese_omniglot.data import affine, augmentation
from siamese_omniglot.data.omniglot import SIDE, DrawingStore
from siamese_omniglot.data.pairs import TRAIN, Pairs, PairSampler


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


class PairChanges(NamedTuple):
    """A batch of pairs whose images are still to be made.

    Attributes:
        drawings: int64 [2 num], indices of the first drawings of all pairs, then those of the second.
        changes: float64 [2 num, 6], see `affine.coefficients`; [2 num, 0] if drawings are not changed.
        labels: float32 [num], 1 for pairs of one character, 0 for others.
    """

    drawings: np.ndarray
    changes: np.ndarray
    labels: np.ndarray


class BatchRecipe(NamedTuple):
    """Settings of the batches."""

    batch_size: int  # samples of two pairs in a step, over all workers
    seed: int
    augment: str  # see augmentation.augment
    permute: str  # see PairSampler.draw
    positions: np.ndarray  # int64 [num], positions of this worker's pairs in the batch of all workers


class _Batches:
    """What both kinds of batches have in common."""

    def __init__(self, sampler: PairSampler, recipe: BatchRecipe):
        self._sampler, self._recipe = sampler, recipe

    def _draw(self, step: int) -> tuple[Pairs, np.ndarray]:
        """Return this worker's pairs, and its drawings: those of `first`, then those of `second`."""
        recipe = self._recipe
        drawn = self._sampler.draw(recipe.batch_size, TRAIN, step, recipe.permute, recipe.positions)
        return drawn, np.concatenate([drawn.first, drawn.second])

    def _seeds(self, step: int) -> list[tuple[int, ...]]:
        """Return a seed for each drawing."""
        recipe = self._recipe
        positions = np.concatenate([recipe.positions, recipe.positions + 2 * recipe.batch_size])
        return [(recipe.seed, TRAIN, step, position) for position in positions.tolist()]


class ImageBatches(_Batches):
    """Makes a worker's part of every batch."""

    def __init__(self, store: DrawingStore, sampler: PairSampler, recipe: BatchRecipe):
        super().__init__(sampler, recipe)
        self._store = store

    @property
    def num_pairs(self) -> int:
        """Number of pairs in a batch."""
        return len(self._recipe.positions)

    def make(self, step: int) -> PairImages:
        """Make this worker's part of the batch of the step after `step` updates."""
        drawn, drawings = self._draw(step)
        images = augmentation.augment(self._store.take(drawings), self._recipe.augment, self._seeds(step))
        return PairImages(images[:self.num_pairs], images[self.num_pairs:], drawn.labels)


class ChangeBatches(_Batches):
    """Makes a worker's part of every batch for a device that has the drawings, in next to no time."""

    augmentations = ("affine", "none")

    def make(self, step: int) -> PairChanges:
        """Make this worker's part of the batch of the step after `step` updates."""
        drawn, drawings = self._draw(step)
        changes = np.empty((len(drawings), 0))
        if self._recipe.augment == "affine":
            changes = affine.coefficients(augmentation.uniform(self._seeds(step)), SIDE)
        return PairChanges(drawings, changes, drawn.labels)


class ThreadAhead:
    """Prepares batches in a thread before they are needed."""

    def __init__(self, batches: ChangeBatches, num_updates: int):
        """Start the thread.

        Args:
            batches: makes the batches.
            num_updates: number of updates of the run; no batches are made beyond it.
        """
        self._batches, self._num_updates = batches, num_updates
        self._pool = ThreadPoolExecutor(1)
        self._made: dict[int, Future] = {}

    def get(self, step: int) -> PairChanges:
        """Return the batch of the step after `step` updates. Call it for one step after the other."""
        for number in range(step, min(step + 2, self._num_updates)):
            if number not in self._made:
                self._made[number] = self._pool.submit(self._batches.make, number)
        return self._made.pop(step).result()

    def close(self) -> None:
        """Stop the thread."""
        self._pool.shutdown()
