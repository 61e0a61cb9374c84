"""Contact sheets: rows of small images with a line of text above each. No TensorFlow."""
from __future__ import annotations

import io
from typing import NamedTuple, Sequence

import numpy as np
from PIL import Image, ImageDraw

from common import atomic_files

SIDE, TEXT_HEIGHT, GAP = 112, 14, 4
_LETTERS = SIDE // 6  # of PIL's own font, 6 pixels wide
_BILINEAR = 2  # the number of PIL's filter: its names moved between versions


class Cell(NamedTuple):
    """An image and what to write above it."""

    image: np.ndarray  # uint8 [height, width, 3] RGB, or [height, width] gray
    text: str


def draw(path: str, title: str, rows: Sequence[Sequence[Cell]]) -> None:
    """Write a PNG of rows of cells; images keep their aspect.

    Args:
        path: of the PNG.
        title: a line at the top.
        rows: the cells; rows may differ in length.
    """
    width = max((len(row) for row in rows), default=2) * (SIDE + GAP) + GAP
    height = TEXT_HEIGHT + GAP + len(rows) * (SIDE + TEXT_HEIGHT + GAP)
    sheet = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP, 2), _printable(title, width // 6), fill="black")
    for number, row in enumerate(rows):
        top = TEXT_HEIGHT + GAP + number * (SIDE + TEXT_HEIGHT + GAP)
        for place, cell in enumerate(row):
            left = GAP + place * (SIDE + GAP)
            pen.text((left, top), _printable(cell.text, _LETTERS), fill="black")
            small = Image.fromarray(cell.image).convert("RGB")
            scale = SIDE / max(small.size)
            size = [max(1, round(scale * length)) for length in small.size]
            sheet.paste(small.resize((size[0], size[1]), _BILINEAR), (left, top + TEXT_HEIGHT))
    content = io.BytesIO()
    sheet.save(content, "PNG")
    atomic_files.write_bytes(path, content.getvalue())


def _printable(text: str, length: int) -> str:
    """PIL's own font knows Latin-1 alone."""
    return text.encode("latin-1", "replace").decode("latin-1")[:length]
