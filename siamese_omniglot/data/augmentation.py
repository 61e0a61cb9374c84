"""Data augmentation for drawings.

`imagenet` is the original's: a random resized crop (8 % to 100 % of the area), a horizontal flip with probability 0.5,
and AutoAugment's policy for ImageNet (Cubuk et al. 2019, arXiv 1805.09501, table 9). Drawings are gray, so colour
operations do nothing and one channel is enough; the original repeats it three times.

`affine` are the changes of Koch et al. 2015 ("Siamese Neural Networks for One-shot Image Recognition", section 4.3):
rotation, shear, scale and translation, each with probability 0.5. They keep characters legible.
"""
from __future__ import annotations

import functools
import math
from typing import Callable, NamedTuple, Sequence

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from siamese_omniglot.data import random_streams
from siamese_omniglot.data.random_streams import NumpyStream

_NEAREST, _BILINEAR, _BICUBIC, _AFFINE = 0, 2, 3, 0  # PIL's constants for filters and the affine transform
PAPER = 255  # colour of the background, also outside a drawing; the ink is 0
NUM_UNIFORM = 14  # random numbers of an affine change
_AFFINE_RANGES = (  # low, high, unchanged
    (-10, 10, 0),  # rotation, degrees
    (-0.3, 0.3, 0), (-0.3, 0.3, 0),  # shear
    (0.8, 1.2, 1), (0.8, 1.2, 1),  # scale
    (-2, 2, 0), (-2, 2, 0),  # translation, pixels
)
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


def augment(drawings: np.ndarray, kind: str, seeds: np.ndarray) -> np.ndarray:
    """Return augmented copies of drawings, uint8 [num, side, side]; the kind is "imagenet", "affine" or "none".

    Each drawing has a seed for NumPy, int64 [num, words], and is changed by random numbers of its own.
    """
    if kind == "none":
        return drawings.copy()
    if kind == "affine":
        changes = affine_changes(seeds, drawings.shape[1])
        return np.stack([change_affinely(drawing, changed_by) for drawing, changed_by in zip(drawings, changes)])
    side, random = drawings.shape[1], NumpyStream()
    # one image below the other: an image of PIL's for each drawing costs more than some of the changes
    given, augmented = Image.fromarray(drawings.reshape(-1, side)), np.empty((len(drawings), side * side), np.uint8)
    for number, seed in enumerate(seeds.tolist()):
        random.start(seed)
        augmented[number] = np.frombuffer(_imagenet(given, number * side, random), np.uint8)
    return augmented.reshape(drawings.shape)


def affine_changes(seeds: np.ndarray, side: int) -> np.ndarray:
    """Return the coefficients of a random change for each seed, float64 [num, 6], see `affine_coefficients`."""
    return affine_coefficients(random_streams.uniform(seeds, NUM_UNIFORM), side)


def affine_coefficients(uniform: np.ndarray, side: int) -> np.ndarray:
    """Return the coefficients a to f of random changes, float64 [num, 6].

    The pixel of the changed drawing with center (x, y) is taken from (a x + b y + c, d x + e y + f) of the drawing.

    Args:
        uniform: float64 [num, 14], random numbers in [0, 1). A drawing uses one or two of them for each of seven
            parameters, in turn.
        side: height and width of the drawings, in pixels.
    """
    rows, used, parameters = np.arange(len(uniform)), np.zeros(len(uniform), int), []
    for low, high, unchanged in _AFFINE_RANGES:
        is_changed = uniform[rows, used] < 0.5
        value = low + (high - low) * uniform[rows, used + is_changed]
        parameters.append(np.where(is_changed, value, unchanged))
        used += 1 + is_changed
    angle, shear_x, shear_y, scale_x, scale_y, shift_x, shift_y = parameters
    radians = np.radians(angle).tolist()  # NumPy's cosine rounds differently
    cos, sin = np.array(list(map(math.cos, radians))), np.array(list(map(math.sin, radians)))
    one, zero, center = np.ones(len(uniform)), np.zeros(len(uniform)), (side - 1) / 2
    matrix = _matrices(cos, -sin, sin, cos) @ _matrices(one, shear_x, shear_y, one)
    matrix = matrix @ _matrices(1 / scale_x, zero, zero, 1 / scale_y)
    shifted = np.stack([center + shift_x, center + shift_y], 1)
    offset = center - (matrix @ shifted[:, :, None])[:, :, 0]
    return np.concatenate([matrix[:, 0], offset[:, :1], matrix[:, 1], offset[:, 1:]], 1)


def _matrices(*entries: np.ndarray) -> np.ndarray:
    """Stack entries, float64 [num] each, into float64 [num, 2, 2]."""
    return np.stack(entries, 1).reshape(-1, 2, 2)


def change_affinely(drawing: np.ndarray, changed_by: Sequence[float]) -> np.ndarray:
    """Return a copy of a drawing, uint8 [side, side], changed by six coefficients; colours are cut off after bilinear
    interpolation.
    """
    image = Image.fromarray(drawing)
    return np.asarray(image.transform(image.size, _AFFINE, tuple(changed_by), _BILINEAR, fillcolor=PAPER), np.uint8)


class _Picture:
    """A square image that is being changed. Tables of colours are joined, and applied when the pixels are needed."""

    def __init__(self, image: Image.Image):
        self.side = image.size[0]
        self.pixels = image.tobytes()

    @property
    def pixels(self) -> bytes:
        """The pixels, row by row."""
        return self._pixels.translate(self._table) if self._table else self._pixels

    @pixels.setter
    def pixels(self, pixels: bytes) -> None:
        self._pixels, self._table = pixels, b""
        self._counts: np.ndarray | None = None  # of `_pixels`

    def counts(self) -> np.ndarray:
        """Return how many pixels have each of the 256 colours."""
        if self._counts is None:
            pixels = np.frombuffer(self._pixels, np.uint8)
            others = pixels[pixels != PAPER]  # few, and a pixel takes longer to count than to compare
            self._counts = np.bincount(others, minlength=256)
            self._counts[PAPER] = len(pixels) - len(others)
        if not self._table:
            return self._counts
        return np.bincount(np.frombuffer(self._table, np.uint8), self._counts, 256).astype(self._counts.dtype)

    def recolour(self, table: bytes) -> None:
        """Replace every colour by its entry in a table of 256."""
        self._table = self._table.translate(table) if self._table else table

    def replace(self, change: Callable[[Image.Image], Image.Image]) -> None:
        """Replace the image by what a function makes of it."""
        self.pixels = change(Image.frombuffer("L", (self.side, self.side), self.pixels, "raw", "L", 0, 1)).tobytes()


def _imagenet(given: Image.Image, top: int, random: NumpyStream) -> bytes:
    side = given.size[0]
    left, upper, right, lower = _crop_box(side, random)
    image = given.crop((left, top + upper, right, top + lower)).resize((side, side), _BILINEAR)
    picture = _Picture(ImageOps.mirror(image) if random.random() < 0.5 else image)
    for change in _POLICY[random.below(len(_POLICY))]:
        if random.random() < change.probability:
            sign = 1.0 if random.random() < 0.5 else -1.0
            _CHANGES[change.name](picture, change.level / 9.0, sign)
    return picture.pixels


def _crop_box(side: int, random: NumpyStream) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a crop of random area and aspect ratio, or the whole image if none fits."""
    for _ in range(_CROP_TRIES):
        area = side * side * (_AREA[0] + (_AREA[1] - _AREA[0]) * random.random())
        aspect = math.exp(_LOG_ASPECT[0] + (_LOG_ASPECT[1] - _LOG_ASPECT[0]) * random.random())
        width, height = int(round(math.sqrt(area * aspect))), int(round(math.sqrt(area / aspect)))
        if 0 < width <= side and 0 < height <= side:
            left, top = random.below(side - width + 1), random.below(side - height + 1)
            return left, top, left + width, top + height
    return 0, 0, side, side


def _rotate(picture: _Picture, strength: float, _: float) -> None:
    """Rotate by up to 30 degrees. The original rotates in one direction only, so the sign has no effect."""
    sources = _rotated(picture.side, 30.0 * strength)
    picture.pixels = np.frombuffer(picture.pixels + bytes([_FILL]), np.uint8)[sources].tobytes()


@functools.lru_cache(maxsize=None)
def _rotated(side: int, degrees: float) -> np.ndarray:
    """Return for each pixel of a rotated image the index of the pixel it shows, side * side where it shows none."""
    indices = Image.fromarray(np.arange(side * side, dtype=np.int32).reshape(side, side))
    return np.asarray(indices.rotate(degrees, _NEAREST, fillcolor=side * side), np.intp).reshape(-1)


def _shear_x(picture: _Picture, strength: float, sign: float) -> None:
    coefficients = (1, 0.3 * strength * sign, 0, 0, 1, 0)
    picture.replace(lambda image: image.transform(image.size, _AFFINE, coefficients, _BICUBIC, fillcolor=_FILL))


def _sharpness(picture: _Picture, strength: float, sign: float) -> None:
    picture.replace(lambda image: ImageEnhance.Sharpness(image).enhance(1 + 0.9 * strength * sign))


def _equalize(picture: _Picture, *_: float) -> None:
    """Do what `ImageOps.equalize` does, without its loops in Python."""
    counts = picture.counts()
    below = np.cumsum(counts) - counts
    step = below[np.flatnonzero(counts)[-1]] // 255
    if step:
        picture.recolour(np.minimum((step // 2 + below) // step, 255).astype(np.uint8).tobytes())


def _autocontrast(picture: _Picture, *_: float) -> None:
    colours = np.flatnonzero(picture.counts())
    picture.recolour(_stretching(int(colours[0]), int(colours[-1])))


def _contrast(picture: _Picture, strength: float, sign: float) -> None:
    counts = picture.counts()
    mean = int(counts.dot(np.arange(256)) / counts.sum() + 0.5)
    picture.recolour(_blending(mean, 1 + 0.9 * strength * sign))


def _colours(first: int = 0, last: int = 255) -> Image.Image:
    return Image.frombytes("L", (last - first + 1, 1), bytes(range(first, last + 1)))


@functools.lru_cache(maxsize=None)
def _table(change: Callable[..., Image.Image], *arguments: int) -> bytes:
    """Return what an operation of ImageOps that looks at single pixels makes of each colour."""
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


# Operations take a picture, a strength from 0 to 1, and a sign.
_CHANGES: dict[str, Callable[[_Picture, float, float], None]] = {
    "posterize": lambda picture, strength, _: picture.recolour(_table(ImageOps.posterize, round(8 - 4 * strength))),
    "solarize": lambda picture, strength, _: picture.recolour(_table(ImageOps.solarize, int(256 * (1 - strength)))),
    "rotate": _rotate,
    "shear_x": _shear_x,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "invert": lambda picture, *_: picture.recolour(_table(ImageOps.invert)),
    "color": lambda picture, *_: None,  # saturation, which gray images do not have
    "contrast": _contrast,
    "sharpness": _sharpness,
}
