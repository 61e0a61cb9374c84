"""What an image file says about itself in its first bytes: its format and how a viewer turns it. Pure Python."""
from __future__ import annotations

import struct

HEADER_BYTES = 1 << 16  # orientation is in the first segment of a JPEG
_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"BM", "BMP"), (b"GIF8", "GIF"),
    (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"\xff\x0a", "JPEG XL"), (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"), (b"\xff\x4f\xff\x51", "JPEG 2000"), (b"8BPS", "Photoshop"), (b"%PDF", "PDF"),
    (b"PK", "ZIP"), (b"\x1f\x8b", "gzip"), (b"\0\5\x16\7", "AppleDouble"), (b"<svg", "SVG"), (b"<?xml", "XML"),
    (b"<!DOCTYPE", "HTML"), (b"<html", "HTML"), (b"version https://git-lfs", "Git LFS pointer"),
)
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIF", b"heix": "HEIF", b"mif1": "HEIF", b"msf1": "HEIF"}
_ORIENTATION = 0x0112


def format_of(content: bytes) -> str | None:
    """Return the name of the format that a file's first bytes are of; None for an unknown one."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WebP"
    if content[4:8] == b"ftyp":
        return _BRANDS.get(content[8:12], "MP4")
    return next((name for signature, name in _SIGNATURES if content.startswith(signature)), None)


def describe(content: bytes) -> str:
    """Say what a file is, by its first bytes, for an error: "is WebP", "is empty", "is of no known format"."""
    found = format_of(content)
    if found:
        return f"is {found}"
    return "is of no known format" if content else "is empty"


def read_header(path: str | bytes) -> bytes:
    """Return the first bytes of a file, none if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(HEADER_BYTES)
    except (OSError, ValueError):  # also a name that no file can have
        return b""


def orientation(content: bytes) -> int:
    """Return the EXIF orientation of a JPEG or PNG, 1 to 8; 1, as it is stored, where there is none that is valid.

    Args:
        content: the file, or its beginning.
    """
    try:
        tiff = _exif_of_png(content) if content.startswith(b"\x89PNG") else _exif_of_jpeg(content)
        found = _orientation_in(tiff) if tiff else 1
    except struct.error:  # cut off
        return 1
    return found if 1 <= found <= 8 else 1


def _exif_of_jpeg(content: bytes) -> bytes:
    position = 2
    while content[position:position + 1] == b"\xff":
        marker, size = struct.unpack_from(">BH", content, position + 1)
        if marker == 0xE1 and content[position + 4:position + 10] == b"Exif\0\0":
            return content[position + 10:position + 2 + size]
        if marker in (0xDA, 0xD9) or size < 2:  # pixels begin, or the end
            break
        position += 2 + size
    return b""


def has_alpha(content: bytes) -> bool:
    """Whether a PNG has transparent pixels or may have some."""
    return content[25:26] in (b"\4", b"\6") or _chunk_of_png(content, b"tRNS") is not None


def _exif_of_png(content: bytes) -> bytes:
    return _chunk_of_png(content, b"eXIf") or b""


def _chunk_of_png(content: bytes, wanted: bytes) -> bytes | None:
    position = 8
    while position + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, position)
        if kind == wanted:
            return content[position + 8:position + 8 + size]
        position += 12 + size
    return None


def _orientation_in(tiff: bytes) -> int:
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    (first,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, first)
    for index in range(count):
        tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, first + 2 + 12 * index)
        if tag == _ORIENTATION and kind == 3:
            return value
    return 1
