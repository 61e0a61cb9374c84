"""Images from files that nobody vouches for. No TensorFlow."""
from __future__ import annotations

import io
import os
from typing import Sequence

import numpy as np
from PIL import Image

from common.errors import ZooError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
FORMATS = ("PNG", "JPEG", "BMP")
MAX_PIXELS = 2 ** 30 // 12  # more than this Pillow warns of
_BILINEAR = 2  # the number of PIL's filter: its names moved between versions


def list_images(path: str, suffixes: Sequence[str] = SUFFIXES) -> list[str]:
    """Return an image file itself, or the image files of a folder, sorted.

    Raises:
        ZooError: nothing there.
    """
    if os.path.isfile(path):
        return [path]
    if not os.path.isdir(path):
        raise ZooError(f"{path}: no such file or folder")
    with os.scandir(path) as entries:
        names = sorted(entry.name for entry in entries
                       if entry.name.lower().endswith(tuple(suffixes)) and entry.is_file())
    if not names:
        raise ZooError(f"{path}: holds no image ({', '.join(suffixes)})")
    return [os.path.join(path, name) for name in names]


def read_gray(path: str, side: int) -> np.ndarray:
    """Decode an image to gray and resize it, without keeping its aspect.

    Args:
        path: a PNG, JPEG or BMP file.
        side: height and width of the result.

    Returns:
        uint8 [side, side].
    """
    return np.asarray(open_gray(path).resize((side, side), _BILINEAR), np.uint8)


def open_gray(path: str, content: bytes | None = None) -> Image.Image:
    """Decode an image to gray, in its own size.

    Args:
        path: a PNG, JPEG or BMP file.
        content: the file's bytes when they were read elsewhere, as from an archive.

    Raises:
        ZooError: the file is damaged, of another format, or absurdly large.
    """
    try:
        with Image.open(path if content is None else io.BytesIO(content), formats=FORMATS) as opened:
            require_size(opened)
            return _from_16_bits(opened) if opened.mode.startswith("I") else opened.convert("L")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ZooError(f"{path}: is no image that can be read ({error})") from None


def require_size(image: Image.Image) -> None:
    """Refuse an image that would fill the memory, before it is decoded; by its size, as filters of warnings belong to
    the process and not to the thread that reads.

    Raises:
        ValueError: it is absurdly large.
    """
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"it has {image.width} x {image.height} pixels, at most {MAX_PIXELS} are decoded")


def _from_16_bits(image: Image.Image) -> Image.Image:
    """PIL would clip 16-bit gray at 255."""
    return Image.fromarray((np.asarray(image, np.float64) / 257.0).round().clip(0, 255).astype(np.uint8))
