"""Format, orientation and transparency of an image file, read from its first bytes in pure Python."""
from __future__ import annotations

import struct

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


def orientation(content: bytes) -> int:
    """Return the EXIF orientation, 1 to 8, of a JPEG or PNG, from its first bytes; 1 if it has no valid one."""
    try:
        tiff = _exif_of_png(content) if content.startswith(b"\x89PNG") else _exif_of_jpeg(content)
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


def _exif_of_png(content: bytes) -> bytes:
    return _chunk_of_png(content, b"eXIf") or b""


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
