"""Training pairs: which track, which two frames of it, how they are changed, and batches, read ahead by threads.

An example depends only on the seed and on its index, so a resumed run needs no state of the reader, and the number of
threads changes nothing. Images are [height, width, 3], RGB, 0 to 255: uint8 when read, float32 after a change.
"""
from __future__ import annotations

import collections
import functools
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Iterator, NamedTuple

import numpy as np

from common import console
from common.data.batching import full_batches
from sa_siam_tf1.configuration import CURATED_SIDE, TrainConfig
from sa_siam_tf1.datasets.imdb import Crop

STRETCH = 0.05
PADDED_SIDE = CURATED_SIDE - 8
GRAY_OF_RGB = np.array([0.2989, 0.587, 0.114], np.float32).astype(np.float64)
MEMORY_SHARE = 0.25  # of the free memory, for crops that are kept
CROP_BYTES = 3 * CURATED_SIDE ** 2
_TRAINING, _VALIDATION = 0, 1  # streams of random numbers


class Example(NamedTuple):
    """Which track an example comes from."""

    epoch: int  # passes over all tracks before it
    position: int  # in the pass
    track: int


class Sampler:
    """An endless sequence of passes, each over all tracks once in an order of its own."""

    def __init__(self, num_tracks: int, seed: int):
        self._num_tracks, self._seed = num_tracks, seed
        self._random, self._epoch = np.random.RandomState(seed), -1
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
    """
    if num_frames <= 2:
        return 0, num_frames - 1
    distance = int(random.choice(range(1, min(num_frames, max_frame_dist) + 1), 1)[0])
    distance = min(distance, num_frames - 1)
    start = int(random.choice(num_frames - distance, 1)[0])
    return start, start + distance


class Change(NamedTuple):
    """A random change of a training image, in pixels."""

    stretched_side: int  # of the whole image
    top: int  # of the crop, in the middle 247 pixels
    left: int


def draw_change(side: int, random: np.random.RandomState) -> Change:
    """Draw a change that crops side x side; the last possible offset is never drawn, as in the original."""
    stretched_side = int(np.round(CURATED_SIDE * (1.0 + random.uniform(-STRETCH, STRETCH))))
    top, left = (int(random.randint(0, max(1, PADDED_SIDE - side))) for _ in range(2))
    return Change(stretched_side, top, left)


def change(image: np.ndarray, changed_by: Change, side: int) -> np.ndarray:
    """Stretch a training image, take the middle 247 pixels and crop them; return float32 [side, side, 3]."""
    stretched_side, top, left = changed_by
    padded = center_crop_or_pad(resize_bilinear(image, stretched_side), PADDED_SIDE)
    return padded[top:top + side, left:left + side]


def resize_bilinear(image: np.ndarray, side: int) -> np.ndarray:
    """Resize a square image as TensorFlow 1 does: pixel i is sampled at i * old / new, without a half-pixel offset."""
    old, image = len(image), image.astype(np.float32)
    source = np.arange(side, dtype=np.float32) * (np.float32(old) / np.float32(side))
    first = np.floor(source).astype(int)
    second, weight = np.minimum(first + 1, old - 1), (source - first).astype(np.float32)
    for axis in (1, 0):
        step, image = image.take(second, axis), image.take(first, axis)
        step -= image  # in place, since this takes most of the time to read a pair
        step *= weight.reshape([side] + [1] * (2 - axis))
        image += step
    return image


def center_crop_or_pad(image: np.ndarray, side: int) -> np.ndarray:
    """Crop the middle of a square image that is larger than side x side, pad a smaller one with black."""
    start, missing = (len(image) - side) // 2, side - len(image)
    if missing <= 0:
        return image[start:start + side, start:start + side]
    before = missing // 2
    return np.pad(image, [(before, missing - before)] * 2 + [(0, 0)], mode="constant")


def gray(image: np.ndarray) -> np.ndarray:
    """Convert an image, uint8, to gray with three equal channels, float32; the sum is exact, then it is rounded."""
    values = np.round(image.astype(np.float64) @ GRAY_OF_RGB).astype(np.float32)
    return np.repeat(values[..., None], 3, axis=2)


class Batch(NamedTuple):
    """Pairs that go through the network together."""

    exemplars: np.ndarray  # float32 [batch, side, side, 3], RGB, 0 to 255
    instances: np.ndarray


class Drawn(NamedTuple):
    """An example that is still to be read: an exemplar and an instance, in this order."""

    crops: list  # two of them
    is_gray: bool
    changes: list  # a `Change` of each


class ReadAhead:
    """The endless sequence of training examples: passes over the tracks, with a pair of frames from each.

    A subclass says what the threads of `_pool` read of an example, ahead of the batch that it belongs to.
    """

    def __init__(self, tracks: list, config: TrainConfig, side: int):
        """Create the threads, which the first batch starts; `tracks` are lists of crops, `side` is of the images."""
        self._tracks, self._config, self._side = tracks, config, side
        self._sampler, self._random = Sampler(len(tracks), config.seed), np.random.RandomState()
        self._pool = ThreadPoolExecutor(config.prefetch_threads)
        self._pending: collections.deque = collections.deque()
        self._next: int | None = None  # index of the next example to request

    def close(self) -> None:
        """Stop the threads."""
        for _, futures in self._pending:
            for future in filter(None, futures):
                future.cancel()
        self._pool.shutdown()

    def _read_ahead(self, drawn: Drawn) -> list[Future | None]:
        """Let the threads read an example; return what `_take` gives back."""
        raise NotImplementedError

    def _take(self, step: int) -> list[tuple[Drawn, list[Future | None]]]:
        """Return the examples of a step, which may not be read yet; request those of the next steps."""
        size = self._config.batch_size
        first = step * size
        if self._next is None:
            self._next = first
        while self._next < first + max(size, self._config.prefetch_capacity):
            drawn = self._draw(self._next)
            self._pending.append((drawn, self._read_ahead(drawn)))
            self._next += 1
        return [self._pending.popleft() for _ in range(size)]

    def _draw(self, index: int) -> Drawn:
        config, random = self._config, self._random
        epoch, position, track = self._sampler.example(index)
        random.seed([config.seed, _TRAINING, epoch, position])  # a new generator would take ten times as long
        frames = sample_pair(len(self._tracks[track]), config.max_frame_dist, random)
        if config.pair_order == "symmetric" and random.randint(2):
            frames = frames[::-1]
        is_gray = bool(config.gray_probability and random.random_sample() < config.gray_probability)
        return Drawn([self._tracks[track][frame] for frame in frames], is_gray,
                     [draw_change(self._side, random) for _ in frames])


class TrainingBatches(ReadAhead):
    """Training batches whose images are made here; with `keeps_crops`, crops stay in memory once they are decoded."""

    def __init__(self, tracks: list, config: TrainConfig, side: int, keeps_crops: bool = False):
        super().__init__(tracks, config, side)
        self._read = functools.lru_cache(maxsize=None)(Crop.read) if keeps_crops else Crop.read

    def batch(self, step: int) -> Batch:
        """Return the batch of the step after `step` updates. The first step may be any; the others follow in order."""
        return _stack([future.result() for _, (future,) in self._take(step)])

    def _read_ahead(self, drawn: Drawn) -> list[Future | None]:
        return [self._pool.submit(self._images, drawn)]

    def _images(self, drawn: Drawn) -> list[np.ndarray]:
        images = [self._read(crop) for crop in drawn.crops]
        if drawn.is_gray:
            images = [gray(image) for image in images]
        return [change(image, changed_by, self._side) for image, changed_by in zip(images, drawn.changes)]


def choose_cache(requested: str, tracks: list, free: int) -> tuple[bool, str]:
    """Resolve --cache_crops: auto keeps the crops if they need at most a quarter of `free` bytes of memory.

    Returns:
        Whether to keep them, and a line that says so.
    """
    num = sum(map(len, tracks))
    size = num * CROP_BYTES
    keeps = size <= MEMORY_SHARE * free if requested == "auto" else requested == "memory"
    how = "kept in memory once decoded" if keeps else "decoded whenever they are used"
    return keeps, f"Crops: {num:,}, {size / 1e6:,.0f} MB, {how} ({free / 1e6:,.0f} MB of memory are free)"


def validation_batches(tracks: list, config: TrainConfig) -> Iterator[tuple[Batch, int]]:
    """Read one pair of each track, always the same, without augmentation.

    Yields:
        A batch of the configured size, the last one filled with its last pair, and how many of its pairs count.
    """
    for rows in console.progress(full_batches(len(tracks), config.batch_size), "validation", "batch"):
        pairs = {row: _validation_pair(tracks[row], config, row) for row in np.unique(rows)}
        yield _stack([pairs[row] for row in rows]), len(pairs)


def _validation_pair(track: list, config: TrainConfig, index: int) -> list[np.ndarray]:
    random = np.random.RandomState([config.seed, _VALIDATION, 0, index])
    return [track[frame].read().astype(np.float32)
            for frame in sample_pair(len(track), config.max_frame_dist, random)]


def _stack(pairs: list) -> Batch:
    exemplars, instances = zip(*pairs)
    return Batch(np.stack(exemplars), np.stack(instances))
