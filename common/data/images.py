"""Reading of untrusted image files."""
from __future__ import annotations

import io
import os
from typing import Sequence

import numpy as np
from PIL import Image

from common.data import listing
from common.errors import ZooError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
FORMATS = ("PNG", "JPEG", "BMP")
MAX_PIXELS = 2 ** 30 // 12  # PIL warns of more
MIN_SIDE = 8
_BILINEAR = 2  # PIL.Image.BILINEAR, whose name differs between versions


def list_images(path: str, suffixes: Sequence[str] = SUFFIXES) -> list[str]:
    """Return an image file itself, or the image files of a folder, ordered by the numbers in their names.

    Raises:
        ZooError: no image exists there.
    """
    if os.path.isfile(path):
        return [path]
    if not os.path.isdir(path):
        raise ZooError(f"{path}: no such file or folder")
    names = listing.files(path, suffixes)
    if not names:
        raise ZooError(f"{path}: contains no image ({', '.join(suffixes)})")
    return listing.in_frame_order([os.path.join(path, name) for name in names])


def read_gray(path: str, side: int) -> np.ndarray:
    """Decode an image to gray, uint8 [side, side], resized regardless of its aspect ratio; errors as `open_image`."""
    return np.asarray(open_image(path, "L").resize((side, side), _BILINEAR), np.uint8)


def read_rgb(path: str) -> np.ndarray:
    """Decode an image to RGB, uint8 [height, width, 3].

    Raises:
        ZooError: the image is tiny, or as `open_image`.
    """
    pixels = np.array(open_image(path, "RGB"))
    if min(pixels.shape[:2]) < MIN_SIDE:
        raise ZooError(f"{path}: has {pixels.shape[1]} x {pixels.shape[0]} pixels, expected {MIN_SIDE} or more")
    return pixels


def open_image(path: str, mode: str, content: bytes | None = None) -> Image.Image:
    """Decode an image at its own size; 16 bits are scaled to 8, which PIL would clip.

    Args:
        path: a PNG, JPEG or BMP file.
        mode: "L" for gray, or "RGB".
        content: the bytes of the file if they are already read, for example from an archive.

    Raises:
        ZooError: the file is damaged, of another format, or absurdly large.
    """
    try:
        with Image.open(path if content is None else io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:  # PIL only warns, and threads share the filters of warnings
                raise ValueError(f"it has {image.width} x {image.height} pixels, at most {MAX_PIXELS} are decoded")
            if image.mode.startswith("I"):
                scaled = (np.asarray(image, np.float64) / 257.0).round().clip(0, 255)
                return Image.fromarray(scaled.astype(np.uint8)).convert(mode)
            return image.convert(mode)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ZooError(f"{path}: not a readable image ({error})") from None
