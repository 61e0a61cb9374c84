"""Data augmentation for drawings.

`imagenet` is the original's: a random resized crop (8 % to 100 % of the area), a horizontal flip with probability 0.5,
and AutoAugment's policy for ImageNet (Cubuk et al. 2019, arXiv 1805.09501, table 9). Drawings are gray, so colour
operations do nothing and one channel is enough; the original repeats it three times.

`affine` is that of Koch et al. 2015 ("Siamese Neural Networks for One-shot Image Recognition", section 4.3): rotation,
shear, scale and translation, each with probability 0.5. It keeps characters legible.
"""
from __future__ import annotations

import math
from typing import Callable, NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

_NEAREST, _BILINEAR, _BICUBIC, _AFFINE = 0, 2, 3, 0  # PIL's constants for filters and the affine transform
_FILL = 128
_PAPER = 255  # colour of the background; the ink is 0
_AREA, _ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)
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


def augment(drawing: np.ndarray, kind: str, random: np.random.RandomState) -> np.ndarray:
    """Return an augmented copy of a drawing.

    Args:
        drawing: uint8 [side, side].
        kind: "imagenet", "affine" or "none".
        random: source of the random numbers.
    """
    if kind == "none":
        return drawing
    image = Image.fromarray(drawing)
    image = _affine(image, random) if kind == "affine" else _imagenet(image, random)
    return np.asarray(image, np.uint8)


def _imagenet(image: Image.Image, random: np.random.RandomState) -> Image.Image:
    side = image.size[0]
    image = image.crop(_crop_box(side, random)).resize((side, side), _BILINEAR)
    if random.rand() < 0.5:
        image = ImageOps.mirror(image)
    for change in _POLICY[random.randint(len(_POLICY))]:
        if random.rand() < change.probability:
            image = _CHANGES[change.name](image, change.level / 9.0, 1.0 if random.rand() < 0.5 else -1.0)
    return image


def _crop_box(side: int, random: np.random.RandomState) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a crop of random area and aspect ratio, or the whole image if none fits."""
    for _ in range(_CROP_TRIES):
        area = side * side * random.uniform(*_AREA)
        aspect = math.exp(random.uniform(math.log(_ASPECT[0]), math.log(_ASPECT[1])))
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


# Operations take an image, a strength from 0 to 1, and a sign.
_CHANGES: dict[str, Callable[[Image.Image, float, float], Image.Image]] = {
    "posterize": lambda image, strength, sign: ImageOps.posterize(image, int(round(8 - 4 * strength))),
    "solarize": lambda image, strength, sign: ImageOps.solarize(image, int(256 * (1 - strength))),
    "rotate": _rotate,
    "shear_x": _shear_x,
    "autocontrast": lambda image, strength, sign: ImageOps.autocontrast(image),
    "equalize": lambda image, strength, sign: ImageOps.equalize(image),
    "invert": lambda image, strength, sign: ImageOps.invert(image),
    "color": lambda image, strength, sign: image,  # saturation, which gray images do not have
    "contrast": lambda image, strength, sign: ImageEnhance.Contrast(image).enhance(1 + 0.9 * strength * sign),
    "sharpness": lambda image, strength, sign: ImageEnhance.Sharpness(image).enhance(1 + 0.9 * strength * sign),
}


def _affine(image: Image.Image, random: np.random.RandomState) -> Image.Image:
    """Rotate by up to 10 degrees, shear by up to 0.3, scale by 0.8 to 1.2 and translate by up to 2 pixels."""
    angle, shear_x, shear_y, scale_x, scale_y, shift_x, shift_y = (
        random.uniform(low, high) if random.rand() < 0.5 else unchanged for low, high, unchanged in (
            (-10, 10, 0), (-0.3, 0.3, 0), (-0.3, 0.3, 0), (0.8, 1.2, 1), (0.8, 1.2, 1), (-2, 2, 0), (-2, 2, 0)))
    radians = math.radians(angle)
    matrix = np.array([[math.cos(radians), -math.sin(radians)], [math.sin(radians), math.cos(radians)]])
    matrix = matrix @ np.array([[1, shear_x], [shear_y, 1]]) @ np.diag([1 / scale_x, 1 / scale_y])
    center = np.array([(image.size[0] - 1) / 2, (image.size[1] - 1) / 2])
    offset = center - matrix @ (center + (shift_x, shift_y))
    coefficients = (matrix[0, 0], matrix[0, 1], offset[0], matrix[1, 0], matrix[1, 1], offset[1])
    return image.transform(image.size, _AFFINE, coefficients, _BILINEAR, fillcolor=_PAPER)
