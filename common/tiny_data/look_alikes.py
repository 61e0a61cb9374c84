"""Tiny look-alikes: pairs of images of one shape in different colours, in left/ and right/."""
from __future__ import annotations

import os

import numpy as np
from PIL import Image, ImageDraw

SIDE = 96


def make(folder: str, num_pairs: int = 40, seed: int = 0, color_spread: int | None = None) -> None:
    """Write left/00000.jpg ... and right/00000.jpg ...; a pair shares the polygon.

    `color_spread` is how much the colours of a pair differ at most, of 255; None for any colours.
    """
    random = np.random.RandomState(seed)
    for side in ("left", "right"):
        os.makedirs(os.path.join(folder, side), exist_ok=True)
    for pair in range(num_pairs):
        corners = random.uniform(8, SIDE - 8, (random.randint(3, 7), 2))
        if color_spread is not None:
            shared = random.randint(0, 256, (2, 3))
        for side in ("left", "right"):
            paper, ink = random.randint(0, 256, (2, 3))
            if color_spread is not None:
                paper, ink = np.clip(shared + random.randint(-color_spread, color_spread + 1, (2, 3)), 0, 255)
            image = Image.new("RGB", (SIDE, SIDE), tuple(map(int, paper)))
            moved = corners + random.normal(0.0, 1.5, corners.shape)
            ImageDraw.Draw(image).polygon([(float(x), float(y)) for x, y in moved], fill=tuple(map(int, ink)))
            image.save(os.path.join(folder, side, f"{pair:05d}.jpg"), quality=92)
