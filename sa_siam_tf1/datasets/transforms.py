"""Augmentation of the crops of a pair.

Images are [height, width, 3], RGB, 0 to 255: uint8 when read, float32 after a change.
"""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sa_siam_tf1.configuration import CURATED_SIDE

STRETCH = 0.05
PADDED_SIDE = CURATED_SIDE - 8
GRAY_OF_RGB = np.array([0.2989, 0.587, 0.114], np.float32).astype(np.float64)


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
    stretched = image if stretched_side == image.shape[0] else resize_bilinear(image, stretched_side)
    padded = center_crop_or_pad(stretched, PADDED_SIDE)
    return padded[top:top + side, left:left + side].astype(np.float32)


def resize_bilinear(image: np.ndarray, side: int) -> np.ndarray:
    """Resize to side x side as TensorFlow 1 does: pixel i is sampled at i * old / new, without a half-pixel offset."""
    image = image.astype(np.float32)
    height, width = image.shape[:2]
    rows = _interpolate(image, 1, *_taps(width, side))
    return _interpolate(rows, 0, *_taps(height, side))


def _interpolate(image: np.ndarray, axis: int, first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Interpolate between neighbours along an axis; in place, since this takes most of the time to read a pair."""
    result, step = image.take(first, axis), image.take(second, axis)
    step -= result
    step *= weight[(None,) * axis + (slice(None),) + (None,) * (2 - axis)]
    result += step
    return result


def _taps(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each new pixel its two neighbours and the weight of the second, float32."""
    source = np.arange(new, dtype=np.float32) * (np.float32(old) / np.float32(new))
    first = np.floor(source).astype(int)
    return first, np.minimum(first + 1, old - 1), (source - first).astype(np.float32)


def center_crop_or_pad(image: np.ndarray, side: int) -> np.ndarray:
    """Crop the middle where an image is larger than side x side, pad it with black where it is smaller."""
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


def gray(image: np.ndarray) -> np.ndarray:
    """Convert an image, uint8, to gray with three equal channels, float32; the sum is exact, then it is rounded."""
    values = np.round(image.astype(np.float64) @ GRAY_OF_RGB).astype(np.float32)
    return np.repeat(values[..., None], 3, axis=2)
