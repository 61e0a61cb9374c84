"""Training pairs: which track, which two frames of it, how they are changed, and batches, read ahead by threads.

An example depends only on the seed and on its index, so a resumed run needs no state of the reader, and the number of
threads changes nothing. Images are [height, width, 3], RGB, 0 to 255: uint8 when read, float32 after a change.
"""
from __future__ import annotations

import collections
import functools
import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Iterator, NamedTuple

import numpy as np

from common import console
from common.data.batching import full_batches
from sa_siam_tf1.configuration import CURATED_SIDE, TrainConfig
from sa_siam_tf1.datasets.imdb import IMAGE_SHAPE, Crop

STRETCH = 0.05
PADDED_SIDE = CURATED_SIDE - 8
TRAIN_SIDE = PADDED_SIDE - 8  # 239
GRAY_OF_RGB = np.array([0.2989, 0.587, 0.114], np.float32).astype(np.float64)
MEMORY_SHARE = 0.25  # of the free memory, for crops that are kept
_TRAINING, _VALIDATION = 0, 1  # streams of random numbers


def passes(num_tracks: int, seed: int, first: int) -> Iterator[tuple[int, int, int]]:
    """Yield, without end, which track each example comes from, beginning with the example of index `first`.

    A pass goes over all tracks once, in an order of its own. Yields the number of the pass, the position in it, both
    from 0, and the track.
    """
    random = np.random.RandomState(seed)
    for epoch in itertools.count():
        order = np.arange(num_tracks)
        random.shuffle(order)
        for position in range(max(0, first - epoch * num_tracks), num_tracks):
            yield epoch, position, int(order[position])


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


def draw_change(random: np.random.RandomState) -> Change:
    """Draw a change; the last possible offset is never drawn, as in the original."""
    stretched_side = int(np.round(CURATED_SIDE * (1.0 + random.uniform(-STRETCH, STRETCH))))
    top, left = (int(random.randint(0, PADDED_SIDE - TRAIN_SIDE)) for _ in range(2))
    return Change(stretched_side, top, left)


def change(image: np.ndarray, changed_by: Change) -> np.ndarray:
    """Stretch a training image, take the middle 247 pixels and crop them; return float32 [239, 239, 3]."""
    stretched_side, top, left = changed_by
    padded = center_crop_or_pad(resize_bilinear(image, stretched_side), PADDED_SIDE)
    return padded[top:top + TRAIN_SIDE, left:left + TRAIN_SIDE]


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


class CropBatch(NamedTuple):
    """A batch of pairs whose images are still to be made: all exemplars, then all instances."""

    crops: np.ndarray  # uint8 [num, 255, 255, 3], RGB: all crops, or those that the device does not have yet
    slots: np.ndarray  # int64 [num], where the device keeps them
    chosen: np.ndarray  # int64 [2 batch], the slot of each image's crop
    is_gray: np.ndarray  # bool [2 batch]
    changes: np.ndarray  # int32 [2 batch, 3], a `Change` of each image


class Drawn(NamedTuple):
    """An example that is still to be read: an exemplar and an instance, in this order."""

    crops: list  # two of them
    is_gray: bool
    changes: list  # a `Change` of each


def draw(tracks: list, config: TrainConfig, first: int) -> Iterator[Drawn]:
    """Draw training examples without end, from an index on: a pair of crops of a track, by `passes` over all tracks."""
    random = np.random.RandomState()
    for epoch, position, track in passes(len(tracks), config.seed, first):
        random.seed([config.seed, _TRAINING, epoch, position])  # a new generator would take ten times as long
        frames = sample_pair(len(tracks[track]), config.max_frame_dist, random)
        if config.pair_order == "symmetric" and random.randint(2):
            frames = frames[::-1]
        is_gray = bool(config.gray_probability and random.random_sample() < config.gray_probability)
        yield Drawn([tracks[track][frame] for frame in frames], is_gray, [draw_change(random) for _ in frames])


def training_batches(tracks: list, config: TrainConfig, step: int, keeps_crops: bool = False) -> Iterator[Batch]:
    """Yield the batches from the one after `step` updates on; `keeps_crops` keeps crops in memory once decoded."""
    read = functools.lru_cache(maxsize=None)(Crop.read) if keeps_crops else Crop.read

    def images(drawn: Drawn) -> list[np.ndarray]:
        crops = [read(crop) for crop in drawn.crops]
        if drawn.is_gray:
            crops = [gray(crop) for crop in crops]
        return [change(crop, changed_by) for crop, changed_by in zip(crops, drawn.changes)]

    for batch in _read_ahead(tracks, config, step, lambda pool, drawn: [pool.submit(images, drawn)]):
        yield _stack([future.result() for _, (future,) in batch])


def crop_batches(tracks: list, config: TrainConfig, step: int, keeps_crops: bool) -> Iterator[CropBatch]:
    """Yield the batches of `training_batches`, without their images.

    With `keeps_crops` every crop has a slot on the device and is read once, for the first batch that needs it; without,
    the slots of a batch are those of its own crops.
    """
    slots = {crop: slot for slot, crop in enumerate(dict.fromkeys(itertools.chain(*tracks)))} if keeps_crops else {}
    unread = set(slots)

    def request(pool: ThreadPoolExecutor, drawn: Drawn) -> list:
        futures = []
        for crop in drawn.crops:
            futures.append(pool.submit(crop.read) if crop in unread or not slots else None)
            unread.discard(crop)
        return futures

    for batch in _read_ahead(tracks, config, step, request):
        drawn, futures = zip(*batch)
        crops, read, changes = (list(itertools.chain(*zip(*pairs))) for pairs in (  # the exemplars' come first
            [one.crops for one in drawn], futures, [one.changes for one in drawn]))
        chosen = np.array([slots[crop] for crop in crops] if slots else np.arange(len(crops)))
        pixels = [future.result() for future in read if future]
        yield CropBatch(np.array(pixels, np.uint8).reshape(-1, *IMAGE_SHAPE), chosen[np.array(read, bool)], chosen,
                        np.array([one.is_gray for one in drawn] * 2), np.array(changes, np.int32))


def _read_ahead(tracks: list, config: TrainConfig, step: int, request: Callable) -> Iterator[list]:
    """Yield batches of examples, each with the futures, or None, of what is requested of a pool well before."""
    examples = draw(tracks, config, step * config.batch_size)
    pending: collections.deque = collections.deque()
    with ThreadPoolExecutor(config.prefetch_threads) as pool:
        try:
            while True:
                while len(pending) < max(config.batch_size, config.prefetch_capacity):
                    drawn = next(examples)
                    pending.append((drawn, request(pool, drawn)))
                yield [pending.popleft() for _ in range(config.batch_size)]
        finally:
            for _, futures in pending:
                for future in filter(None, futures):
                    future.cancel()


def choose_cache(requested: str, tracks: list, free: int) -> tuple[bool, str]:
    """Resolve --cache_crops: auto keeps the crops if they need at most a quarter of `free` bytes of memory.

    Returns:
        Whether to keep them, and a line that says so.
    """
    num = sum(map(len, tracks))
    size = num * int(np.prod(IMAGE_SHAPE))
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
    return Batch(*map(np.stack, zip(*pairs)))
