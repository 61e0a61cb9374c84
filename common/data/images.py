"""Untrusted image files, decoded to gray or RGB by the same rules for all models (docs/images.md).

Transparent pixels are blended with a background, 16 bits are reduced to 8, palettes, 1 bit and CMYK are converted. The
EXIF orientation is applied if the caller asks for it. An animated PNG gives its default image.
"""
from __future__ import annotations

import io
import os
from typing import Callable, Sequence

import numpy as np
from PIL import Image

from common.data import image_headers, listing
from common.errors import ZooError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
FORMATS = ("PNG", "JPEG", "BMP")
BACKGROUNDS = {"white": 255, "black": 0}
MAX_BYTES = 2 ** 28
MAX_PIXELS = 2 ** 30 // 12  # PIL warns of more
MIN_SIDE = 8
THUMBNAIL_SIDE = 160
_BILINEAR = 2  # PIL.Image.BILINEAR, whose name differs between versions
_MAX_CHECKED = 200  # files that `orientation_notices` reads


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


def find_images(paths: Sequence[str], suffixes: Sequence[str] = SUFFIXES) -> list[str]:
    """Return image files, and those of folders and of all folders in them, each once; links are not followed.

    Raises:
        ZooError: no image exists at one of the paths.
    """
    return list(dict.fromkeys(image for path in paths for image in _find_images(path, suffixes)))


def _find_images(path: str, suffixes: Sequence[str]) -> list[str]:
    if not os.path.isdir(path):
        return list_images(path, suffixes)
    found: list[str] = []
    for folder, names, _ in listing.walk(path):
        names[:] = [name for name in listing.folders(folder) if name in names]
        found += listing.in_frame_order([os.path.join(folder, name) for name in listing.files(folder, suffixes)])
    if not found:
        raise ZooError(f"{path}: contains no image ({', '.join(suffixes)}), nor do the folders in it")
    return found


def indices_besides(query: str, found: Sequence[str], paths: Sequence[str]) -> list[int]:
    """Return the indices of the images that `find_images` has found, without the query unless it is among the paths.

    Raises:
        ZooError: there is no other image.
    """
    indices = [index for index, path in enumerate(found) if path in paths or not os.path.samefile(path, query)]
    if not indices:
        raise ZooError(f"{', '.join(paths)}: holds no image besides the query")
    return indices


def read_gray(path: str, side: int, background: str = "white") -> np.ndarray:
    """Decode an upright image to gray and resize it, regardless of its aspect ratio.

    Args:
        path: a PNG, JPEG or BMP file.
        side: height and width of the result.
        background: background of transparent pixels.

    Returns:
        uint8 [side, side].
    """
    image = open_image(path, "L", background=background, upright=True)
    return np.asarray(image.resize((side, side), _BILINEAR), np.uint8)


def read_rgb(path: str, upright: bool = True, background: str = "white") -> np.ndarray:
    """Decode an image to RGB.

    Args:
        path: a PNG, JPEG or BMP file.
        upright: apply the EXIF orientation.
        background: background of transparent pixels.

    Returns:
        uint8 [height, width, 3].

    Raises:
        ZooError: the image is tiny, or as `open_image`.
    """
    pixels = np.array(open_image(path, "RGB", background=background, upright=upright))
    if min(pixels.shape[:2]) < MIN_SIDE:
        raise ZooError(f"{path}: has {pixels.shape[1]} x {pixels.shape[0]} pixels, expected {MIN_SIDE} or more")
    return pixels


def thumbnail(path: str, background: str = "white") -> np.ndarray:
    """Decode an upright image to RGB for a picture of results, at most THUMBNAIL_SIDE wide and high."""
    image = open_image(path, "RGB", background=background, upright=True)
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    return np.asarray(image)


def open_image(path: str, mode: str, content: bytes | None = None, background: str = "white", upright: bool = False
               ) -> Image.Image:
    """Decode an image at its own size.

    Args:
        path: a PNG, JPEG or BMP file.
        mode: "L" for gray, or "RGB".
        content: the bytes of the file if they are already read, for example from an archive.
        background: background of transparent pixels, "white" or "black".
        upright: apply the EXIF orientation.

    Raises:
        ZooError: the file is damaged, of another format, or absurdly large.
    """
    if content is None:
        content = _read(path)
    if image_headers.format_of(content) not in FORMATS:
        raise ZooError(f"{path}: not a readable image: it {image_headers.describe(content)}, expected "
                       f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:  # PIL only warns, and threads share the filters of warnings
                raise ValueError(f"it has {image.width} x {image.height} pixels, at most {MAX_PIXELS} are decoded")
            decoded = _flatten(image, mode, BACKGROUNDS[background])
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ZooError(f"{path}: not a readable image ({error})") from None
    orientation = image_headers.orientation(content) if upright else 1
    return decoded if orientation == 1 else Image.fromarray(turn(np.asarray(decoded), orientation))


def _read(path: str) -> bytes:
    try:
        size = os.path.getsize(path)
        if size > MAX_BYTES:
            raise ZooError(f"{path}: has {size} bytes, at most {MAX_BYTES} are read")
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ZooError(f"{path}: not a readable image ({error})") from None


def _flatten(image: Image.Image, mode: str, background: int) -> Image.Image:
    """Convert to gray or RGB; 16 bits are scaled to 8, which PIL would clip, and transparency is removed."""
    if image.mode.startswith("I"):
        scaled = (np.asarray(image, np.float64) / 257.0).round().clip(0, 255)
        return Image.fromarray(scaled.astype(np.uint8)).convert(mode)
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        return Image.fromarray(on_background(np.asarray(image.convert("RGBA")), background)).convert(mode)
    return image.convert(mode)


def on_background(pixels: np.ndarray, background: int) -> np.ndarray:
    """Blend an image, uint8 [height, width, 4], with a gray background, 0 to 255; return uint8 [height, width, 3]."""
    alpha = pixels[..., 3:].astype(np.int32)
    return ((pixels[..., :3] * alpha + background * (255 - alpha) + 127) // 255).astype(np.uint8)


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Rotate and flip an image [height, width, ...] by an EXIF orientation, 1 to 8."""
    if orientation >= 5:
        pixels = np.swapaxes(pixels, 0, 1)
    rows, columns = -1 if orientation in (3, 4, 7, 8) else 1, -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(pixels[::rows, ::columns])


def orientation_notices(path_of: Callable[[int], str | bytes], num: int, advice: str) -> list[str]:
    """Return a line if images have an EXIF orientation that is ignored.

    Args:
        path_of: returns the path of an image by its index.
        num: number of images, of which a sample is checked.
        advice: how to apply the orientation.
    """
    count = min(num, _MAX_CHECKED)
    checked = [path_of(index * num // count) for index in range(count)]
    rotated = [path for path in checked if image_headers.orientation(image_headers.read_header(path)) != 1]
    if not rotated:
        return []
    return [f"Notice: {len(rotated)} of {count} checked images have an EXIF orientation, which is ignored, such as "
            f"{os.fsdecode(rotated[0])}; {advice}"]


def one_color_notices(names: Sequence[str], pixels: Sequence[np.ndarray]) -> list[str]:
    """Return a line for each image whose pixels are all equal, such as a white drawing on white."""
    return [f"Warning: {name}: all pixels are {image.flat[0]}; if the image is transparent, set its background with "
            "--background=black or white" for name, image in zip(names, pixels) if (image == image.flat[0]).all()]
