"""Contact sheets: rows of small images with a line of text above each."""
from __future__ import annotations

import io
from typing import NamedTuple, Sequence

import numpy as np
from PIL import Image, ImageDraw

from common import atomic_files

SIDE, TEXT_HEIGHT, GAP = 112, 14, 4
_LETTERS = SIDE // 6  # of PIL's built-in font, which is 6 pixels wide
_BILINEAR = 2  # PIL.Image.BILINEAR, whose name differs between versions


class Cell(NamedTuple):
    """An image and the text above it."""

    image: np.ndarray  # uint8 [height, width, 3] RGB, or [height, width] gray
    text: str


def draw(path: str, title: str, rows: Sequence[Sequence[Cell]]) -> None:
    """Write a PNG of rows of cells, with a title; rows may differ in length, and images keep their aspect ratio."""
    width = max((len(row) for row in rows), default=2) * (SIDE + GAP) + GAP
    height = TEXT_HEIGHT + GAP + len(rows) * (SIDE + TEXT_HEIGHT + GAP)
    sheet = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP, 2), _printable(title, width // 6), fill="black")
    for row_index, row in enumerate(rows):
        top = TEXT_HEIGHT + GAP + row_index * (SIDE + TEXT_HEIGHT + GAP)
        for column_index, cell in enumerate(row):
            left = GAP + column_index * (SIDE + GAP)
            pen.text((left, top), _printable(cell.text, _LETTERS), fill="black")
            image = Image.fromarray(cell.image).convert("RGB")
            scale = SIDE / max(image.size)
            size = (max(1, round(scale * image.width)), max(1, round(scale * image.height)))
            sheet.paste(image.resize(size, _BILINEAR), (left, top + TEXT_HEIGHT))
    content = io.BytesIO()
    sheet.save(content, "PNG")
    atomic_files.write_bytes(path, content.getvalue())


def _printable(text: str, length: int) -> str:
    """Replace characters that PIL's built-in font lacks: it has Latin-1 only."""
    return text.encode("latin-1", "replace").decode("latin-1")[:length]
