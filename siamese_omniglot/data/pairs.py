"""Which drawings train, which validate, and the pairs that are drawn from them. No TensorFlow.

Every random number is a function of seed and position, so a resumed run goes on exactly, and every worker of a
data-parallel run draws the same batch.
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
    """Numbers of the drawings that train and of those that validate, int64."""

    train: np.ndarray
    validation: np.ndarray


class Pairs(NamedTuple):
    """Pairs of drawings: their numbers, int64 [num], and whether both show one character, float32 [num]."""

    first: np.ndarray
    second: np.ndarray
    labels: np.ndarray


def split(data: Drawings, unit: str) -> Split:
    """Split the drawings: 0.9 of the units train, the others validate.

    Args:
        data: the drawings.
        unit: "image", as the original: the same characters are on both sides; "character" or "alphabet": those that
            validate have never been trained on.

    Raises:
        ZooError: too few units.
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
    found = Split(np.flatnonzero(is_train), np.flatnonzero(~is_train))
    assert not set(data.labels[found.train]) & set(data.labels[found.validation])
    return found


def shuffled(num: int) -> np.ndarray:
    """Shuffle 0 to num - 1 as the original does: Python's generator, seed 1."""
    order = list(range(num))
    random.Random(SPLIT_SEED).shuffle(order)
    return np.array(order)


class PairSampler:
    """Draws pairs: for every sample one of the same character and one of two characters."""

    def __init__(self, data: Drawings, indices: np.ndarray, seed: int, use_all_characters: bool,
                 advice: str = "give more data or another --split"):
        """Sort a part's drawings by character.

        Args:
            data: all drawings.
            indices: the part's.
            seed: seed of the pairs.
            use_all_characters: False leaves out the last character of the data set, as the original does.
            advice: what the error tells the user to do.

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
            number: of the batch.
            permute: "batch" permutes all pairs, "sample" the two of each sample.
            positions: int64 [num], places in the batch whose pairs are wanted; none for all. The others cost
                next to nothing.
        """
        random_state = np.random.RandomState([self._seed, stream, number])
        order = random_state.permutation(2 * num_samples) if permute == "batch" else np.arange(2 * num_samples)
        uniform = random_state.random_sample((num_samples, 7))
        wanted = order if positions is None else order[positions]
        samples = {sample: self._sample(uniform[sample], permute == "sample") for sample in np.unique(wanted // 2)}
        first, second, labels = zip(*(samples[place // 2][place % 2] for place in wanted))
        return Pairs(np.array(first), np.array(second), np.array(labels, np.float32))

    def _sample(self, uniform: np.ndarray, is_shuffled: bool) -> list[tuple]:
        """Draw two pairs, one of one character and one of two, as (drawing, drawing, label).

        Args:
            uniform: float64 [7], from 0 to 1, what chance decides by.
            is_shuffled: whether the pair of two characters comes first in half of the samples.
        """
        group = self._anchors[int(uniform[0] * len(self._anchors))]
        left, three = list(self._groups[group]), []
        for number in uniform[1:4]:
            three.append(left.pop(int(number * len(left))))
        other = int(uniform[4] * (len(self._groups) - 1))
        others = self._groups[other + (other >= group)]
        found = [(three[0], three[1], 1.0), (three[2], others[int(uniform[5] * len(others))], 0.0)]
        return found[::-1] if is_shuffled and uniform[6] < 0.5 else found


class Samplers(NamedTuple):
    """What draws pairs to train and to validate with."""

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
