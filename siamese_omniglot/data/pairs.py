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
    """Pairs of drawings.

    Attributes:
        first: int64 [num], indices of drawings.
        second: int64 [num], indices of the other drawings.
        labels: float32 [num], 1 for pairs of one character, 0 for others.
    """

    first: np.ndarray
    second: np.ndarray
    labels: np.ndarray


def split(data: Drawings, unit: str) -> Split:
    """Split the drawings into 90 % of the units for training and 10 % for validation.

    Args:
        data: the drawings.
        unit: "image", as in the original: both parts hold the same characters; "character" or "alphabet": those of
            the validation part are not in the training part.

    Raises:
        ZooError: there are fewer than two units.
    """
    if unit == "image":
        order = shuffled(len(data.labels))
        num_train = int(TRAIN_SHARE * len(order))
        return Split(order[:num_train], order[num_train:])
    groups = list(range(len(data.characters))) if unit == "character" else sorted(
        {character.split("/")[0] for character in data.characters})
    num_train = max(1, int(TRAIN_SHARE * len(groups)))
    if len(groups) < 2:
        raise ZooError(f"--split={unit}: the data hold {len(groups)} {unit}, at least 2 are needed; take "
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

        Args:
            data: all drawings.
            indices: int64 [num], the drawings of the part.
            seed: seed of the pairs.
            use_all_characters: False leaves out the last character of the data set, as the original does.
            advice: what to do if no pairs can be drawn, for the error.

        Raises:
            ZooError: no pairs can be drawn.
        """
        labels = data.labels[indices]
        limit = len(data.characters) - (0 if use_all_characters else 1)
        by_character = [indices[labels == character] for character in range(limit)]
        self._groups = [group for group in by_character if len(group)]
        self._anchors = [number for number, group in enumerate(self._groups) if len(group) >= MIN_IMAGES]
        self.num_drawings = len(indices)
        self._seed = seed
        if not self._anchors or len(self._groups) < 2:
            left_out = "" if use_all_characters else ", the last character left out"
            raise ZooError(f"{len(indices)} drawings give no pairs: {len(self._groups)} characters, "
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
            positions: int64 [num], positions in the batch of the pairs to return; all by default. The others cost
                next to nothing.
        """
        random_state = np.random.RandomState([self._seed, stream, number])
        order = random_state.permutation(2 * num_samples) if permute == "batch" else np.arange(2 * num_samples)
        uniform = random_state.random_sample((num_samples, 7))
        wanted = order if positions is None else order[positions]
        samples = {sample: self._sample(uniform[sample], permute == "sample") for sample in np.unique(wanted // 2)}
        first, second, labels = zip(*(samples[pair // 2][pair % 2] for pair in wanted))
        return Pairs(np.array(first), np.array(second), np.array(labels, np.float32))

    def _sample(self, uniform: np.ndarray, is_shuffled: bool) -> list[tuple]:
        """Draw two pairs, one of one character and one of two, as (drawing, drawing, label).

        Args:
            uniform: float64 [7], random numbers in [0, 1).
            is_shuffled: put the pair of two characters first in half of the samples.
        """
        group = self._anchors[int(uniform[0] * len(self._anchors))]
        left, three = list(self._groups[group]), []
        for number in uniform[1:4]:
            three.append(left.pop(int(number * len(left))))
        other = int(uniform[4] * (len(self._groups) - 1))
        others = self._groups[other + (other >= group)]
        drawn = [(three[0], three[1], 1.0), (three[2], others[int(uniform[5] * len(others))], 0.0)]
        return drawn[::-1] if is_shuffled and uniform[6] < 0.5 else drawn


class Samplers(NamedTuple):
    """The samplers of the training and of the validation pairs."""

    train: PairSampler
    validation: PairSampler


def samplers(data: Drawings, parts: Split, seed: int, use_all_characters: bool) -> Samplers:
    """Make the samplers of both parts.

    Raises:
        ZooError: no pairs can be drawn in one of them.
    """
    made = []
    for name, indices in parts._asdict().items():
        try:
            made.append(PairSampler(data, indices, seed, use_all_characters))
        except ZooError as error:
            raise ZooError(f"{name}: {error}") from None
    return Samplers(*made)
