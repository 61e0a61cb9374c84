"""Which tracks, and which two frames of a track, make the training examples."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Example(NamedTuple):
    """Which track an example comes from."""

    epoch: int  # passes over all tracks before it
    position: int  # in the pass
    track: int


class Sampler:
    """An endless sequence of passes, each over all tracks once in an order of its own."""

    def __init__(self, num_tracks: int, seed: int):
        self._num_tracks = num_tracks
        self._seed = seed
        self._random = np.random.RandomState(seed)
        self._epoch = -1
        self._order = np.arange(num_tracks)

    def example(self, index: int) -> Example:
        """Return an example by its index from the beginning of training; rising indices are the quickest."""
        epoch, position = divmod(index, self._num_tracks)
        if epoch < self._epoch:
            self._random, self._epoch = np.random.RandomState(self._seed), -1
        while self._epoch < epoch:
            self._order = np.arange(self._num_tracks)
            self._random.shuffle(self._order)
            self._epoch += 1
        return Example(epoch, position, int(self._order[position]))


def sample_pair(num_frames: int, max_frame_dist: int, random: np.random.RandomState) -> tuple[int, int]:
    """Draw two frames of a track, the earlier one first.

    The distance is uniform in 1 to min(num_frames, max_frame_dist) and then limited to what fits, so the longest
    distance of a short track is drawn twice as often. Of a track of one or two frames, the first and last are taken.

    Args:
        num_frames: frames of the track.
        max_frame_dist: largest distance.
        random: two numbers are drawn from it.
    """
    if num_frames <= 2:
        return 0, num_frames - 1
    distance = int(random.choice(range(1, min(num_frames, max_frame_dist) + 1), 1)[0])
    distance = min(distance, num_frames - 1)
    start = int(random.choice(num_frames - distance, 1)[0])
    return start, start + distance
