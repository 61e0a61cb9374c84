"""Untrusted image files, decoded to gray or RGB by the same rules for all models (docs/images.md).

Transparent pixels are blended with a background, 16 bits are reduced to 8, palettes, 1 bit and CMYK are converted. The
EXIF orientation is applied if the caller asks for it. An animated PNG gives its default image.
"""
from __future__ import annotations

import io
import os
import struct
from typing import Callable, Sequence

import numpy as np
from PIL import Image

from common.data import listing
from common.errors import ZooError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
FORMATS = ("PNG", "JPEG", "BMP")
BACKGROUNDS = {"white": 255, "black": 0}
MAX_BYTES = 2 ** 28
MAX_PIXELS = 2 ** 30 // 12  # PIL warns of more
MIN_SIDE = 8
_MAX_CHECKED = 200  # files that `orientation_notices` reads
HEADER_BYTES = 1 << 16  # includes the first segment of a JPEG, which has the orientation
_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"BM", "BMP"), (b"GIF8", "GIF"),
    (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"\xff\x0a", "JPEG XL"), (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"), (b"\xff\x4f\xff\x51", "JPEG 2000"), (b"8BPS", "Photoshop"), (b"%PDF", "PDF"),
    (b"PK", "ZIP"), (b"\x1f\x8b", "gzip"), (b"\0\5\x16\7", "AppleDouble"), (b"<svg", "SVG"), (b"<?xml", "XML"),
    (b"<!DOCTYPE", "HTML"), (b"<html", "HTML"), (b"version https://git-lfs", "Git LFS pointer"),
)
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIF", b"heix": "HEIF", b"mif1": "HEIF", b"msf1": "HEIF"}
_ORIENTATION = 0x0112


def list_images(path: str, suffixes: Sequence[str] = SUFFIXES) -> list[str]:
    """Return an image file itself, or the image files of a folder in frame order; ZooError if there is none."""
    if os.path.isfile(path):
        return [path]
    if not os.path.isdir(path):
        raise ZooError(f"{path}: no such file or folder")
    names = listing.files(path, suffixes)
    if not names:
        raise ZooError(f"{path}: contains no image ({', '.join(suffixes)})")
    return listing.in_frame_order([os.path.join(path, name) for name in names])


def read_rgb(path: str, upright: bool = True, background: str = "white") -> np.ndarray:
    """Decode an image to RGB, uint8 [height, width, 3]; raise ZooError if it is tiny, or as `open_image`."""
    pixels = np.array(open_image(path, "RGB", background=background, upright=upright))
    if min(pixels.shape[:2]) < MIN_SIDE:
        raise ZooError(f"{path}: has {pixels.shape[1]} x {pixels.shape[0]} pixels, expected {MIN_SIDE} or more")
    return pixels


def open_image(path: str, mode: str, content: bytes | None = None, background: str = "white", upright: bool = False
               ) -> Image.Image:
    """Decode a PNG, JPEG or BMP file at its own size to gray, "L", or "RGB"; `upright` applies the EXIF orientation.

    `content` is the file if it is already read, for example from an archive. Raises ZooError if it is damaged, of
    another format, or absurdly large.
    """
    if content is None:
        content = _read(path)
    if format_of(content) not in FORMATS:
        raise ZooError(f"{path}: not a readable image: it {describe(content)}, expected "
                       f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:  # PIL only warns, and threads share the filters of warnings
                raise ValueError(f"it has {image.width} x {image.height} pixels, at most {MAX_PIXELS} are decoded")
            decoded = _flatten(image, mode, BACKGROUNDS[background])
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ZooError(f"{path}: not a readable image ({error})") from None
    orientation = orientation_of(content) if upright else 1
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
    """Return a line if some of `num` images, of which a sample is checked, have an EXIF orientation that is ignored."""
    count = min(num, _MAX_CHECKED)
    checked = [path_of(index * num // count) for index in range(count)]
    rotated = [path for path in checked if orientation_of(read_header(path)) != 1]
    if not rotated:
        return []
    return [f"Notice: {len(rotated)} of {count} checked images have an EXIF orientation, which is ignored, such as "
            f"{os.fsdecode(rotated[0])}; {advice}"]


def format_of(content: bytes) -> str | None:
    """Return the name of the format of a file, from its first bytes; None if it is unknown."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WebP"
    if content[4:8] == b"ftyp":
        return _BRANDS.get(content[8:12], "MP4")
    return next((name for signature, name in _SIGNATURES if content.startswith(signature)), None)


def describe(content: bytes) -> str:
    """Describe a file for an error message, from its first bytes: "is WebP", "is empty", "has an unknown format"."""
    name = format_of(content)
    if name:
        return f"is {name}"
    return "has an unknown format" if content else "is empty"


def read_header(path: str | bytes) -> bytes:
    """Return the first bytes of a file, b"" if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(HEADER_BYTES)
    except (OSError, ValueError):  # ValueError: an impossible name
        return b""


def orientation_of(content: bytes) -> int:
    """Return the EXIF orientation, 1 to 8, of a JPEG or PNG, from its first bytes; 1 if it has no valid one."""
    try:
        tiff = _chunk_of_png(content, b"eXIf") if content.startswith(b"\x89PNG") else _exif_of_jpeg(content)
        value = _orientation_in(tiff) if tiff else 1
    except struct.error:  # truncated
        return 1
    return value if 1 <= value <= 8 else 1


def _exif_of_jpeg(content: bytes) -> bytes:
    position = 2
    while content[position:position + 1] == b"\xff":
        marker, size = struct.unpack_from(">BH", content, position + 1)
        if marker == 0xE1 and content[position + 4:position + 10] == b"Exif\0\0":
            return content[position + 10:position + 2 + size]
        if marker in (0xDA, 0xD9) or size < 2:  # start of the pixels, or end of the file
            break
        position += 2 + size
    return b""


def has_alpha(content: bytes) -> bool:
    """Whether a PNG may have transparent pixels."""
    return content[25:26] in (b"\4", b"\6") or _chunk_of_png(content, b"tRNS") is not None


def _chunk_of_png(content: bytes, name: bytes) -> bytes | None:
    position = 8
    while position + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, position)
        if kind == name:
            return content[position + 8:position + 8 + size]
        position += 12 + size
    return None


def _orientation_in(tiff: bytes) -> int:
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, directory)
    for index in range(count):
        tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, directory + 2 + 12 * index)
        if tag == _ORIENTATION and kind == 3:
            return value
    return 1
