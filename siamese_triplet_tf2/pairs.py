"""Pairs of images, their split into training and validation, and the negatives that complete triplets.

Everything is a function of the folder, the seed and the epoch, so a resumed run draws the triplets of an uninterrupted
one.
"""
from __future__ import annotations

import dataclasses
import os
import zlib
from typing import Sequence

import numpy as np

from common.data import images
from common.errors import ZooError

FOLDER_NAMES = ("totally_looks_like",)
SUFFIXES = (".jpg", ".jpeg", ".png")
# shuffle buffers of the original's tf.data pipeline
NEGATIVE_BUFFER, TRIPLET_BUFFER = 4096, 1024
TRAIN_SHARE = 0.8
_NEGATIVES, _SPLIT, _ORDER = 1, 2, 3  # streams of random numbers
_TRAIN_PASS, _VALIDATION_PASS = 5, 10  # streams of a split that is redrawn
_VALIDATION_EPOCH = 2 ** 31 - 1  # validation triplets are the same in every epoch, so epochs can be compared


@dataclasses.dataclass(frozen=True)
class Pairs:
    """The images of a folder: paths, sorted by name; left[i] and right[i] look alike."""

    left: list[str]
    right: list[str]
    notices: list[str]  # lines to print

    def images(self) -> list[str]:
        """Return all images, left ones first. The index of an image is its position in this list."""
        return self.left + self.right

    def fingerprint(self) -> list:
        """Return the number of images, and a checksum of their names and sizes."""
        described = [(os.path.basename(os.path.dirname(path)), os.path.basename(path), os.path.getsize(path))
                     for path in self.images()]
        return [len(described), zlib.crc32(repr(described).encode("utf-8"))]


@dataclasses.dataclass(frozen=True)
class Triplets:
    """Triplets as indices of images, int64 [num] each."""

    anchor: np.ndarray
    positive: np.ndarray
    negative: np.ndarray

    def __len__(self) -> int:
        return len(self.anchor)

    def __getitem__(self, rows: slice | np.ndarray) -> Triplets:
        return Triplets(self.anchor[rows], self.positive[rows], self.negative[rows])

    def images(self) -> np.ndarray:
        """Return all anchors, then all positives, then all negatives, int64 [3 * num]."""
        return np.concatenate([self.anchor, self.positive, self.negative])

    def own_pair(self, num_pairs: int) -> np.ndarray:
        """Return which of the positives and the negatives belong to the pair of an anchor, bool [num, 2 * num]."""
        candidates = np.concatenate([self.positive, self.negative]) % num_pairs
        return candidates[None, :] == self.anchor[:, None]


def has_data(folder: str) -> bool:
    """Return whether a folder holds left/ or right/."""
    return any(os.path.isdir(os.path.join(folder, side)) for side in ("left", "right"))


def load(folder: str) -> Pairs:
    """List the pairs of a folder; ZooError if a side is missing or empty, or the sides do not match."""
    left, right = (_list(folder, side) for side in ("left", "right"))
    if len(left) != len(right):
        alone = sorted(set(_stems(left)) ^ set(_stems(right)))
        raise ZooError(f"{folder}: {len(left)} images in left/ and {len(right)} in right/; pairs are made by position "
                       f"in the sorted lists{f', and {alone[0]} has no counterpart' if alone else ''}")
    if len(left) < 2:
        raise ZooError(f"{folder}: {len(left)} pair, at least two are needed, for training and for validation")
    same = sum(a == b for a, b in zip(_stems(left), _stems(right)))
    common = len(set(_stems(left)) & set(_stems(right)))
    if common and same < len(left):
        first = next((a, b) for a, b in zip(_stems(left), _stems(right)) if a != b)
        raise ZooError(f"{folder}: names do not match: left/{first[0]} is paired with right/{first[1]} "
                       f"({len(left) - same} such pairs)")
    notices = [] if same else ["Notice: no names in left/ and right/ match; pairs are made by position."]
    return Pairs(left, right, notices)


def _list(folder: str, side: str) -> list[str]:
    path = os.path.join(folder, side)
    if not os.path.isdir(path):
        raise ZooError(f"{path}: missing; expected left/ and right/ with images")
    return sorted(images.list_images(path, SUFFIXES))


def _stems(paths: Sequence[str]) -> list[str]:
    return [os.path.splitext(os.path.basename(path))[0] for path in paths]


def negative_list(num_pairs: int) -> np.ndarray:
    """Return the original's list of negatives: the indices of all images in its order, int64 [2 * num_pairs].

    RandomState(42) shuffles the anchors and then the positives; RandomState(32) shuffles both together.
    """
    random = np.random.RandomState(42)
    anchors, positives = np.arange(num_pairs), np.arange(num_pairs, 2 * num_pairs)
    random.shuffle(anchors)
    random.shuffle(positives)
    negatives = np.concatenate([anchors, positives])
    np.random.RandomState(32).shuffle(negatives)
    return negatives


def buffered_shuffle(num: int, take: int, buffer_size: int, random: np.random.RandomState) -> np.ndarray:
    """Shuffle 0 to num - 1 with a buffer as tf.data does, and return the first `take` numbers.

    A random element of the full buffer is drawn, and the next number replaces it.
    """
    buffer = list(range(min(buffer_size, num)))
    following, drawn = len(buffer), []
    while buffer and len(drawn) < take:
        index = random.randint(len(buffer))
        drawn.append(buffer[index])
        if following < num:
            buffer[index] = following
            following += 1
        else:
            buffer[index] = buffer[-1]
            buffer.pop()
    return np.array(drawn, np.int64)


class Sampler:
    """Draws the triplets of each epoch."""

    def __init__(self, num_pairs: int, seed: int, split: str, negatives: str):
        """Set up the split.

        Args:
            num_pairs: number of pairs.
            seed: seed of the run.
            split: "fixed" keeps the split for the whole run. "redrawn" is the original's, which draws it anew in every
                pass, so that validation pairs have been trained on.
            negatives: "listed" draws them from the original's list through a buffer, as the original does. They can be
                the anchor or its positive, and with many pairs the end of the list is never drawn. "others" draws any
                image except these two.
        """
        self._num_pairs, self._seed, self._split, self._negatives = num_pairs, seed, split, negatives
        self.num_train = int(round(TRAIN_SHARE * num_pairs))
        self._fixed = np.split(self._shuffled(), [self.num_train])  # training and validation pairs

    def train(self, epoch: int) -> Triplets:
        """Return the training triplets of an epoch, in their order."""
        if self._split == "redrawn":
            chosen = self._shuffled(epoch, _TRAIN_PASS)[:self.num_train]
        else:
            chosen = self._fixed[0]
            random = np.random.RandomState([self._seed, _ORDER, epoch])
            chosen = chosen[buffered_shuffle(len(chosen), len(chosen), TRIPLET_BUFFER, random)]
        return self._triplets(chosen, epoch)

    def validation(self, epoch: int) -> Triplets:
        """Return the validation triplets after an epoch."""
        if self._split == "redrawn":
            return self._triplets(self._shuffled(epoch, _VALIDATION_PASS)[self.num_train:], epoch)
        return self._triplets(self._fixed[1], _VALIDATION_EPOCH)

    def all(self) -> Triplets:
        """Return triplets of all pairs, for data that was not used for training."""
        return self._triplets(np.arange(self._num_pairs), _VALIDATION_EPOCH)

    def validation_pairs(self) -> np.ndarray:
        """Return the indices of the validation pairs of the fixed split, int64 [num], ascending."""
        return np.sort(self._fixed[1])

    def _shuffled(self, *seed: int) -> np.ndarray:
        random = np.random.RandomState([self._seed, _SPLIT, *seed])
        return buffered_shuffle(self._num_pairs, self._num_pairs, TRIPLET_BUFFER, random)

    def _triplets(self, chosen: np.ndarray, epoch: int) -> Triplets:
        random = np.random.RandomState([self._seed, _NEGATIVES, epoch])
        if self._negatives == "listed":
            drawn = buffered_shuffle(2 * self._num_pairs, self._num_pairs, NEGATIVE_BUFFER, random)
            negative = negative_list(self._num_pairs)[drawn]
        else:
            # draw one of the 2n - 2 other images; shift the index past the anchor and the positive
            negative = random.randint(0, 2 * self._num_pairs - 2, self._num_pairs)
            anchors = np.arange(self._num_pairs)
            negative += negative >= anchors
            negative += negative >= anchors + self._num_pairs
        return Triplets(chosen, chosen + self._num_pairs, negative[chosen])
