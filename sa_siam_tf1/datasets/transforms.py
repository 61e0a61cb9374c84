"""What happens to the crops of a pair before training and validation. No TensorFlow.

Images are [height, width, 3], RGB, 0 to 255: uint8 as they are read, float32 afterwards.
"""
from __future__ import annotations

import numpy as np

from sa_siam_tf1.configuration import CURATED_SIDE

STRETCH = 0.05
PADDED_SIDE = CURATED_SIDE - 8
_GRAY_OF_RGB = np.array([0.2989, 0.587, 0.114], np.float32)


def resize_bilinear(image: np.ndarray, side: int) -> np.ndarray:
    """Resize to side x side as TensorFlow's first resize did: pixel i comes from i * old / new, without half pixels."""
    image = image.astype(np.float32)
    height, width = image.shape[:2]
    rows = _between(image, 1, *_taps(width, side))
    return _between(rows, 0, *_taps(height, side))


def _between(image: np.ndarray, axis: int, first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Go from one neighbour towards the other by a share, along an axis; in place, it is most of reading a pair."""
    found, step = image.take(first, axis), image.take(second, axis)
    step -= found
    step *= share[(None,) * axis + (slice(None),) + (None,) * (2 - axis)]
    found += step
    return found


def _taps(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each new pixel its two neighbours and the share of the second, float32."""
    source = np.arange(new, dtype=np.float32) * (np.float32(old) / np.float32(new))
    first = np.floor(source).astype(int)
    return first, np.minimum(first + 1, old - 1), (source - first).astype(np.float32)


def center_crop_or_pad(image: np.ndarray, side: int) -> np.ndarray:
    """Cut the middle out where the image is larger than side x side, put black around where it is smaller."""
    for axis in (0, 1):
        old = image.shape[axis]
        if old > side:
            start = (old - side) // 2
            image = image[start:start + side] if axis == 0 else image[:, start:start + side]
        elif old < side:
            before = (side - old) // 2
            widths = [(0, 0)] * 3
            widths[axis] = (before, side - old - before)
            image = np.pad(image, widths, mode="constant")
    return image


def stretch(image: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Resize by a random factor, the same for both axes."""
    side = int(np.round(CURATED_SIDE * (1.0 + random.uniform(-STRETCH, STRETCH))))
    return image if side == image.shape[0] else resize_bilinear(image, side)


def random_crop(image: np.ndarray, side: int, random: np.random.RandomState) -> np.ndarray:
    """Cut out side x side at a random place; the last possible offset is never drawn, as in the original."""
    top, left = (int(random.randint(0, max(1, image.shape[axis] - side))) for axis in (0, 1))
    return image[top:top + side, left:left + side]


def gray(image: np.ndarray) -> np.ndarray:
    """Turn an image gray, three equal channels."""
    values = np.round(image.astype(np.float32) @ _GRAY_OF_RGB)
    return np.repeat(values[..., None], 3, axis=2)


def augment(image: np.ndarray, side: int, random: np.random.RandomState) -> np.ndarray:
    """What a training image goes through: stretch, middle of 247, random crop; float32 [side, side, 3]."""
    padded = center_crop_or_pad(stretch(image, random), PADDED_SIDE)
    return random_crop(padded, side, random).astype(np.float32)
