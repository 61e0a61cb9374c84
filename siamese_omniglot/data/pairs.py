"""The split into training and validation drawings, and the pairs drawn from them.

Every random number is a function of seed and position. A resumed run therefore continues exactly, and all workers of a
data-parallel run draw the same batch.
"""
from __future__ import annotations

import random
from typing import NamedTuple

import numpy as np

from common.errors import ZooError
from siamese_omniglot.data.omniglot import MIN_IMAGES, Drawings

SPLIT_SEED = 1  # the original's
TRAIN_SHARE = 0.9
TRAIN, VALIDATION, EPISODES = 0, 1, 2  # streams of random numbers


class Split(NamedTuple):
    """Indices of the drawings for training and for validation, int64 [num]."""

    train: np.ndarray
    validation: np.ndarray


class Pairs(NamedTuple):
    """Pairs of drawings."""

    first: np.ndarray  # int64 [num], indices of drawings
    second: np.ndarray  # int64 [num], indices of the other drawings
    labels: np.ndarray  # float32 [num], 1 for pairs of one character, 0 for others


def split(data: Drawings, unit: str) -> Split:
    """Split the drawings into 90 % of the units for training and 10 % for validation.

    With the unit "image", as in the original, both parts hold the same characters; with "character" or "alphabet" those
    of the validation part are not in the training part. Raises ZooError if there are fewer than two units.
    """
    if unit == "image":
        order = shuffled(len(data.labels))
        num_train = int(TRAIN_SHARE * len(order))
        return Split(order[:num_train], order[num_train:])
    groups = list(range(len(data.characters))) if unit == "character" else sorted(
        {character.split("/")[0] for character in data.characters})
    num_train = max(1, int(TRAIN_SHARE * len(groups)))
    if len(groups) < 2:
        raise ZooError(f"--split={unit}: the data hold {len(groups)} {unit}, at least 2 are needed; use "
                       "--split=character or --split=image")
    chosen = {groups[number] for number in shuffled(len(groups))[:num_train]}
    groups_of = [label if unit == "character" else data.alphabet_of(label) for label in data.labels]
    is_train = np.array([group in chosen for group in groups_of])
    parts = Split(np.flatnonzero(is_train), np.flatnonzero(~is_train))
    assert not set(data.labels[parts.train]) & set(data.labels[parts.validation])
    return parts


def shuffled(num: int) -> np.ndarray:
    """Return 0 to num - 1 in the original's random order (Python's generator, seed 1)."""
    order = list(range(num))
    random.Random(SPLIT_SEED).shuffle(order)
    return np.array(order)


class PairSampler:
    """Draws samples of two pairs: one of the same character and one of two characters."""

    def __init__(self, data: Drawings, indices: np.ndarray, seed: int, use_all_characters: bool,
                 advice: str = "give more data or another --split"):
        """Group the drawings of a part by character.

        Raises ZooError if no pairs can be drawn.

        Args:
            data: all drawings.
            indices: int64 [num], the drawings of the part.
            seed: seed of the pairs.
            use_all_characters: False leaves out the last character of the data set, as the original does.
            advice: what to do if no pairs can be drawn, for the error.
        """
        labels = data.labels[indices]
        limit = len(data.characters) - (0 if use_all_characters else 1)
        by_character = [indices[labels == character] for character in range(limit)]
        groups = [group for group in by_character if len(group)]
        self._sizes = np.array([len(group) for group in groups], np.int64)
        self._starts = np.cumsum(self._sizes) - self._sizes  # of the groups in `_drawings`
        self._drawings = np.concatenate([np.empty(0, np.int64), *groups])
        self._anchors = np.flatnonzero(self._sizes >= MIN_IMAGES)
        self.num_drawings = len(indices)
        self._seed = seed
        if not len(self._anchors) or len(groups) < 2:
            left_out = "" if use_all_characters else ", the last character left out"
            raise ZooError(f"{len(indices)} drawings give no pairs: {len(groups)} characters, "
                           f"{len(self._anchors)} of them with {MIN_IMAGES} drawings or more{left_out}; 2 and 1 are "
                           f"needed: {advice}")

    def draw(self, num_samples: int, stream: int, number: int, permute: str, positions: np.ndarray | None = None
             ) -> Pairs:
        """Draw one batch of 2 * num_samples pairs, half of them of one character, or a part of it.

        Args:
            num_samples: samples in the batch.
            stream: TRAIN or VALIDATION.
            number: index of the batch.
            permute: "batch" permutes all pairs, "sample" the two of each sample.
            positions: int64 [num], positions in the batch of the pairs to return; all by default.
        """
        random_state = np.random.RandomState([self._seed, stream, number])
        order = random_state.permutation(2 * num_samples) if permute == "batch" else np.arange(2 * num_samples)
        uniform = random_state.random_sample((num_samples, 7))
        wanted = order if positions is None else order[positions]
        return self._drawn(uniform[wanted // 2].T, wanted % 2, permute == "sample")

    def _drawn(self, uniform: np.ndarray, is_second: np.ndarray, is_shuffled: bool) -> Pairs:
        """Draw one of the two pairs of samples from random numbers in [0, 1), float64 [7, num].

        `is_second`, int64 [num], is 1 for the second pair of a sample: the one of two characters, the first is of one.
        With `is_shuffled` they are swapped in half of the samples.
        """
        group = self._anchors[_index(uniform[0], len(self._anchors))]
        one, two, three = _three(uniform[1:4], self._sizes[group])
        other = _index(uniform[4], len(self._sizes) - 1)
        other += other >= group
        is_other = is_second != ((uniform[6] < 0.5) & is_shuffled)
        first = self._starts[group] + np.where(is_other, three, one)
        second = np.where(is_other, self._starts[other] + _index(uniform[5], self._sizes[other]),
                          self._starts[group] + two)
        return Pairs(self._drawings[first], self._drawings[second], (~is_other).astype(np.float32))


def _index(uniform: np.ndarray, num: np.ndarray | int) -> np.ndarray:
    """Turn random numbers in [0, 1) into indices below `num`, int64."""
    return (uniform * num).astype(np.int64)


def _three(uniform: np.ndarray, num: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Turn random numbers, float64 [3, ...], into three indices below `num`, all different."""
    one, two, three = _index(uniform[0], num), _index(uniform[1], num - 1), _index(uniform[2], num - 2)
    two += two >= one
    for taken in (np.minimum(one, two), np.maximum(one, two)):
        three += three >= taken
    return one, two, three


def samplers(data: Drawings, parts: Split, seed: int, use_all_characters: bool) -> dict[str, PairSampler]:
    """Return the samplers of "train" and "validation"; ZooError if no pairs can be drawn in one of them."""
    made = {}
    for name, indices in parts._asdict().items():
        try:
            made[name] = PairSampler(data, indices, seed, use_all_characters)
        except ZooError as error:
            raise ZooError(f"{name}: {error}") from None
    return made
