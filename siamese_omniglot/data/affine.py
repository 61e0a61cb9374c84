"""Affine changes of drawings, those of Koch et al. 2015 ("Siamese Neural Networks for One-shot Image Recognition",
section 4.3): rotation, shear, scale and translation, each with probability 0.5. They keep characters legible.
"""
from __future__ import annotations

import math
from typing import Sequence

import numpy as np
from PIL import Image

PAPER = 255  # colour of the background, also outside a drawing; the ink is 0
NUM_UNIFORM = 14  # random numbers of a drawing
_BILINEAR, _AFFINE = 2, 0  # PIL's constants
_RANGES = (  # low, high, unchanged
    (-10, 10, 0),  # rotation, degrees
    (-0.3, 0.3, 0), (-0.3, 0.3, 0),  # shear
    (0.8, 1.2, 1), (0.8, 1.2, 1),  # scale
    (-2, 2, 0), (-2, 2, 0),  # translation, pixels
)


def coefficients(uniform: np.ndarray, side: int) -> np.ndarray:
    """Return the coefficients a to f of random changes, float64 [num, 6].

    The pixel of the changed drawing with center (x, y) is taken from (a x + b y + c, d x + e y + f) of the drawing.

    Args:
        uniform: float64 [num, 14], random numbers in [0, 1). A drawing uses one or two of them for each of seven
            parameters, in turn.
        side: height and width of the drawings, in pixels.
    """
    rows, used, parameters = np.arange(len(uniform)), np.zeros(len(uniform), int), []
    for low, high, unchanged in _RANGES:
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


def change(drawing: np.ndarray, changed_by: Sequence[float]) -> np.ndarray:
    """Return a changed copy of a drawing, uint8 [side, side]. Colours are interpolated bilinearly and cut off.

    Args:
        drawing: uint8 [side, side].
        changed_by: the six coefficients.
    """
    image = Image.fromarray(drawing)
    return np.asarray(image.transform(image.size, _AFFINE, tuple(changed_by), _BILINEAR, fillcolor=PAPER), np.uint8)
