"""The order of the tracks."""
from __future__ import annotations

import numpy as np


class Sampler:
    """An endless sequence of passes over all tracks, in order or shuffled anew for each pass."""

    def __init__(self, num_tracks: int, seed: int, shuffle: bool):
        self._num_tracks = num_tracks
        self._seed = seed
        self._shuffle = shuffle
        self._random = np.random.RandomState(seed)
        self._pass = -1
        self._order = np.arange(num_tracks)

    def locate(self, index: int) -> tuple[int, int, int]:
        """Return pass, position in the pass, and track of an example; rising indices are fastest."""
        number, position = divmod(index, self._num_tracks)
        if self._shuffle:
            if number < self._pass:
                self._random, self._pass = np.random.RandomState(self._seed), -1
            while self._pass < number:
                self._order = np.arange(self._num_tracks)
                self._random.shuffle(self._order)
                self._pass += 1
        return number, position, int(self._order[position])
