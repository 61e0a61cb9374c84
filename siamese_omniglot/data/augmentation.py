"""Data augmentation for drawings.

`imagenet` is the original's: a random resized crop (8 % to 100 % of the area), a horizontal flip with probability 0.5,
and AutoAugment's policy for ImageNet (Cubuk et al. 2019, arXiv 1805.09501, table 9). Drawings are gray, so colour
operations do nothing and one channel is enough; the original repeats it three times. `affine` is in `data.affine`.
"""
from __future__ import annotations

import functools
import math
from typing import Callable, NamedTuple, Sequence

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from siamese_omniglot.data import affine

_NEAREST, _BILINEAR, _BICUBIC, _AFFINE = 0, 2, 3, 0  # PIL's constants for filters and the affine transform
_FILL = 128
_AREA = (0.08, 1.0)
_LOG_ASPECT = (math.log(3 / 4), math.log(4 / 3))
_CROP_TRIES = 10


class _Change(NamedTuple):
    """An operation of a sub-policy: its probability, name and magnitude (0 to 9)."""

    probability: float
    name: str
    level: int


# AutoAugment's sub-policies for ImageNet.
_POLICY = tuple((_Change(*one), _Change(*other)) for one, other in (
    ((0.4, "posterize", 8), (0.6, "rotate", 9)), ((0.6, "solarize", 5), (0.6, "autocontrast", 5)),
    ((0.8, "equalize", 8), (0.6, "equalize", 3)), ((0.6, "posterize", 7), (0.6, "posterize", 6)),
    ((0.4, "equalize", 7), (0.2, "solarize", 4)), ((0.4, "equalize", 4), (0.8, "rotate", 8)),
    ((0.6, "solarize", 3), (0.6, "equalize", 7)), ((0.8, "posterize", 5), (1.0, "equalize", 2)),
    ((0.2, "rotate", 3), (0.6, "solarize", 8)), ((0.6, "equalize", 8), (0.4, "posterize", 6)),
    ((0.8, "rotate", 8), (0.4, "color", 0)), ((0.4, "rotate", 9), (0.6, "equalize", 2)),
    ((0.0, "equalize", 7), (0.8, "equalize", 8)), ((0.6, "invert", 4), (1.0, "equalize", 8)),
    ((0.6, "color", 4), (1.0, "contrast", 8)), ((0.8, "rotate", 8), (1.0, "color", 2)),
    ((0.8, "color", 8), (0.8, "solarize", 7)), ((0.4, "sharpness", 7), (0.6, "invert", 8)),
    ((0.6, "shear_x", 5), (1.0, "equalize", 9)), ((0.4, "color", 0), (0.6, "equalize", 3)),
    ((0.4, "equalize", 7), (0.2, "solarize", 4)), ((0.6, "solarize", 5), (0.6, "autocontrast", 5)),
    ((0.6, "invert", 4), (1.0, "equalize", 8)), ((0.6, "color", 4), (1.0, "contrast", 8)),
    ((0.8, "equalize", 8), (0.6, "equalize", 3)),
))  # fmt: skip


def augment(drawings: np.ndarray, kind: str, seeds: Sequence[Sequence[int]]) -> np.ndarray:
    """Return augmented copies of drawings, uint8 [num, side, side].

    Args:
        drawings: uint8 [num, side, side].
        kind: "imagenet", "affine" or "none".
        seeds: num seeds for NumPy; each drawing is changed by random numbers of its own.
    """
    if kind == "none":
        return drawings.copy()
    if kind == "affine":
        changes = affine.coefficients(uniform(seeds), drawings.shape[1])
        return np.stack([affine.change(drawing, changed_by) for drawing, changed_by in zip(drawings, changes)])
    side, random = drawings.shape[1], np.random.RandomState()
    # one image below the other: an image of PIL's for each drawing costs more than some of the changes
    given, augmented = Image.fromarray(drawings.reshape(-1, side)), Image.new("L", (side, len(drawings) * side))
    for top, seed in zip(range(0, len(drawings) * side, side), seeds):
        random.seed(seed)
        augmented.paste(_imagenet(given, top, random), (0, top))
    return np.asarray(augmented, np.uint8).reshape(drawings.shape)


def uniform(seeds: Sequence[Sequence[int]]) -> np.ndarray:
    """Draw the random numbers of `affine.coefficients`, float64 [num, 14], one row for each seed."""
    random, drawn = np.random.RandomState(), np.empty((len(seeds), affine.NUM_UNIFORM))
    for row, seed in zip(drawn, seeds):
        random.seed(seed)  # a new generator would take ten times as long
        row[:] = random.random_sample(affine.NUM_UNIFORM)
    return drawn


def _imagenet(given: Image.Image, top: int, random: np.random.RandomState) -> Image.Image:
    side = given.size[0]
    left, upper, right, lower = _crop_box(side, random)
    image = given.crop((left, top + upper, right, top + lower)).resize((side, side), _BILINEAR)
    if random.random_sample() < 0.5:
        image = ImageOps.mirror(image)
    for change in _POLICY[random.randint(len(_POLICY))]:
        if random.random_sample() < change.probability:
            sign = 1.0 if random.random_sample() < 0.5 else -1.0
            image = _CHANGES[change.name](image, change.level / 9.0, sign)
    return image


def _crop_box(side: int, random: np.random.RandomState) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a crop of random area and aspect ratio, or the whole image if none fits."""
    for _ in range(_CROP_TRIES):
        area = side * side * (_AREA[0] + (_AREA[1] - _AREA[0]) * random.random_sample())
        aspect = math.exp(_LOG_ASPECT[0] + (_LOG_ASPECT[1] - _LOG_ASPECT[0]) * random.random_sample())
        width, height = int(round(math.sqrt(area * aspect))), int(round(math.sqrt(area / aspect)))
        if 0 < width <= side and 0 < height <= side:
            left, top = random.randint(side - width + 1), random.randint(side - height + 1)
            return left, top, left + width, top + height
    return 0, 0, side, side


def _rotate(image: Image.Image, strength: float, sign: float) -> Image.Image:
    """Rotate by up to 30 degrees. The original rotates in one direction only, so `sign` has no effect."""
    del sign
    return image.rotate(30.0 * strength, _NEAREST, fillcolor=_FILL)


def _shear_x(image: Image.Image, strength: float, sign: float) -> Image.Image:
    return image.transform(image.size, _AFFINE, (1, 0.3 * strength * sign, 0, 0, 1, 0), _BICUBIC, fillcolor=_FILL)


def _equalize(image: Image.Image, strength: float, sign: float) -> Image.Image:
    """Do what `ImageOps.equalize` does, without its loops in Python."""
    del strength, sign
    counts = np.bincount(np.frombuffer(image.tobytes(), np.uint8), minlength=256)
    below = np.cumsum(counts) - counts
    step = below[np.flatnonzero(counts)[-1]] // 255
    if not step:
        return image
    return _recoloured(image, np.minimum((step // 2 + below) // step, 255).astype(np.uint8).tobytes())


def _autocontrast(image: Image.Image, strength: float, sign: float) -> Image.Image:
    del strength, sign
    return _recoloured(image, _stretching(*image.getextrema()))


def _contrast(image: Image.Image, strength: float, sign: float) -> Image.Image:
    mean = int(np.asarray(image).sum() / (image.size[0] * image.size[1]) + 0.5)
    return _recoloured(image, _blending(mean, 1 + 0.9 * strength * sign))


def _recoloured(image: Image.Image, table: bytes) -> Image.Image:
    """Replace every colour by its entry in a table of 256; `Image.point` takes twice as long."""
    return Image.frombuffer("L", image.size, image.tobytes().translate(table), "raw", "L", 0, 1)


def _pixelwise(image: Image.Image, change: Callable[..., Image.Image], *arguments: int) -> Image.Image:
    """Apply an operation of ImageOps that looks at single pixels."""
    return _recoloured(image, _table(change, *arguments))


def _colours(first: int = 0, last: int = 255) -> Image.Image:
    return Image.frombytes("L", (last - first + 1, 1), bytes(range(first, last + 1)))


@functools.lru_cache(maxsize=None)
def _table(change: Callable[..., Image.Image], *arguments: int) -> bytes:
    """Return what an operation makes of each colour."""
    return change(_colours(), *arguments).tobytes()


@functools.lru_cache(maxsize=None)
def _stretching(darkest: int, lightest: int) -> bytes:
    """Return what `ImageOps.autocontrast` makes of each colour of an image with these extremes."""
    stretched = ImageOps.autocontrast(_colours(darkest, lightest)).tobytes()
    return bytes(darkest) + stretched + bytes(255 - lightest)


@functools.lru_cache(maxsize=None)
def _blending(mean: int, factor: float) -> bytes:
    """Return what `ImageEnhance.Contrast` makes of each colour of an image with this mean."""
    return Image.blend(Image.new("L", (256, 1), mean), _colours(), factor).tobytes()


# Operations take an image, a strength from 0 to 1, and a sign.
_CHANGES: dict[str, Callable[[Image.Image, float, float], Image.Image]] = {
    "posterize": lambda image, strength, sign: _pixelwise(image, ImageOps.posterize, int(round(8 - 4 * strength))),
    "solarize": lambda image, strength, sign: _pixelwise(image, ImageOps.solarize, int(256 * (1 - strength))),
    "rotate": _rotate,
    "shear_x": _shear_x,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "invert": lambda image, strength, sign: _pixelwise(image, ImageOps.invert),
    "color": lambda image, strength, sign: image,  # saturation, which gray images do not have
    "contrast": _contrast,
    "sharpness": lambda image, strength, sign: ImageEnhance.Sharpness(image).enhance(1 + 0.9 * strength * sign),
}
