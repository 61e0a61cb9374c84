"""Drawn characters in folders of alphabets."""
from __future__ import annotations

import os

import numpy as np
from PIL import Image, ImageDraw

SIDE = 105
_MARGIN = 18
_SCALE = 4  # characters are drawn larger, then reduced


def draw(strokes: np.ndarray, random: np.random.RandomState) -> Image.Image:
    """Draw float [strokes, points, 2], x and y in [0, 1], unsteadily: black on white with one bit per pixel."""
    image = Image.new("L", (SIDE * _SCALE, SIDE * _SCALE), 255)
    pen = ImageDraw.Draw(image)
    for stroke in strokes:
        shaken = stroke + random.normal(0, 0.025, stroke.shape) + random.normal(0, 0.02, (1, 2))
        points = (_MARGIN + np.clip(shaken, 0, 1) * (SIDE - 2 * _MARGIN)) * _SCALE
        pen.line([tuple(point) for point in points], fill=0, width=3 * _SCALE)
    return image.resize((SIDE, SIDE), 2).convert("1")  # bilinear


def make(folder: str, num_alphabets: int = 3, num_characters: int = 6, num_drawings: int = 10, seed: int = 0) -> None:
    """Write images_background/<Alphabet>/characterNN/NNNN_MM.png."""
    for index in range(num_alphabets * num_characters):
        alphabet, character = divmod(index, num_characters)
        strokes = np.random.RandomState([seed, index + 1]).rand(3, 3, 2)
        path = os.path.join(folder, "images_background", f"Alphabet_{alphabet + 1}", f"character{character + 1:02d}")
        os.makedirs(path, exist_ok=True)
        for drawing in range(1, num_drawings + 1):
            image = draw(strokes, np.random.RandomState([seed, index + 1, drawing]))
            image.save(os.path.join(path, f"{index + 1:04d}_{drawing:02d}.png"))
