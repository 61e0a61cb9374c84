"""Batches of pairs for training: with images, or with what a device needs to make the images itself."""
from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, Sequence

import numpy as np

from siamese_omniglot.data import affine, augmentation, random_streams
from siamese_omniglot.data.omniglot import SIDE, DrawingStore
from siamese_omniglot.data.pairs import TRAIN, Pairs, PairSampler

_DRAWINGS_AT_ONCE = 4096  # 10 MB of random states


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

    def _seeds(self, step: int) -> np.ndarray:
        """Return a seed for each drawing, int64 [num, 4]."""
        recipe = self._recipe
        positions = np.concatenate([recipe.positions, recipe.positions + 2 * recipe.batch_size])
        return np.stack(np.broadcast_arrays(recipe.seed, TRAIN, step, positions), 1)


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
        images = augmentation.augment(self._store.take(drawings), self._recipe.augment, self._seeds(step).tolist())
        return PairImages(images[:self.num_pairs], images[self.num_pairs:], drawn.labels)


class ChangeBatches(_Batches):
    """Makes a worker's part of every batch for a device that has the drawings, in next to no time.

    Attributes:
        num_at_once: how many batches to make in a call, which takes hardly longer than one.
    """

    augmentations = ("affine", "none")

    def __init__(self, sampler: PairSampler, recipe: BatchRecipe):
        super().__init__(sampler, recipe)
        self.num_at_once = max(1, _DRAWINGS_AT_ONCE // (2 * len(recipe.positions)))

    def make_several(self, steps: Sequence[int]) -> list[PairChanges]:
        """Make this worker's part of some batches: of those of the steps after so many updates."""
        pairs, drawings = zip(*map(self._draw, steps))
        changes = np.empty((len(steps), len(drawings[0]), 0))
        if self._recipe.augment == "affine":
            seeds = np.concatenate([self._seeds(step) for step in steps])
            made = affine.coefficients(random_streams.uniform(seeds, affine.NUM_UNIFORM), SIDE)
            changes = made.reshape(*changes.shape[:2], made.shape[1])
        return [PairChanges(*batch, drawn.labels) for *batch, drawn in zip(drawings, changes, pairs)]


class ThreadAhead:
    """Prepares batches in a thread before they are needed, many at once."""

    def __init__(self, batches: ChangeBatches, num_updates: int):
        """Start the thread.

        Args:
            batches: makes the batches.
            num_updates: number of updates of the run; no batches are made beyond it.
        """
        self._batches, self._num_updates = batches, num_updates
        self._pool = ThreadPoolExecutor(1)
        self._made: dict[int, Future] = {}  # by the first step

    def get(self, step: int) -> PairChanges:
        """Return the batch of the step after `step` updates. Call it for one step after the other."""
        count = self._batches.num_at_once
        current = step - step % count
        for start in (current, current + count):
            if start not in self._made and start < self._num_updates:
                steps = range(start, min(start + count, self._num_updates))
                self._made[start] = self._pool.submit(self._batches.make_several, steps)
        self._made.pop(current - count, None)
        return self._made[current].result()[step - current]

    def close(self) -> None:
        """Stop the thread."""
        self._pool.shutdown()
