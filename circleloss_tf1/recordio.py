"""Files of records as MXNet writes them, and images in them as insightface stores its training sets.

A record consists of parts: the magic number, kind and length in one uint32, content, zeros up to a multiple of 4 bytes.
Most records have one part; where the content itself has the magic number it is left out and separates two parts.
The content begins with flag (uint32), label (float32) and two ids (uint64); if flag is not 0, as many float32 follow,
which are the labels. The rest is the file of an image.
"""
from __future__ import annotations

import array
import os
import struct
from typing import BinaryIO, NamedTuple

import numpy as np

from common.errors import ZooError

MAX_BYTES = 1 << 26  # of a record
MAX_LABELS = 1 << 10
_MAGIC = struct.pack("<I", 0xCED7230A)
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)  # kinds of parts
_HEADER = struct.Struct("<IfQQ")
_BLOCK_BYTES = 1 << 20
_MAX_LINE_BYTES = 100


class Record(NamedTuple):
    """A record: its labels, float32, and the file of its image."""

    labels: np.ndarray
    image: bytes


def read(file: BinaryIO, offset: int, max_bytes: int = MAX_BYTES) -> Record:
    """Read the record at an offset.

    Args:
        file: an open file of records.
        offset: where the record begins.
        max_bytes: a record is cut off here, for the labels alone.

    Raises:
        ZooError: no record begins there, or it is damaged.
    """
    where = f"{file.name}: the record at byte {offset}"
    file.seek(offset)
    content, expected = bytearray(), (_WHOLE, _FIRST)
    while True:
        head = file.read(8)
        if len(head) < 8 or head[:4] != _MAGIC:
            raise ZooError(f"{where} begins with {head[:4]!r}, expected the magic number of MXNet's records; do "
                           "train.rec and train.idx belong together?")
        kind, length = divmod(struct.unpack("<I", head[4:])[0], 1 << 29)
        if kind not in expected or len(content) + length > MAX_BYTES:
            raise ZooError(f"{where} is damaged: part of kind {kind} with {length} bytes")
        part = file.read(min(length, max_bytes))
        content += part
        if len(content) >= max_bytes:
            break
        if len(part) < length:
            raise ZooError(f"{where} is cut off")
        if kind in (_WHOLE, _LAST):
            break
        file.seek(-length % 4, os.SEEK_CUR)
        content += _MAGIC
        expected = (_MIDDLE, _LAST)
    return _parse(bytes(content), where)


def _parse(content: bytes, where: str) -> Record:
    if len(content) < _HEADER.size:
        raise ZooError(f"{where} is damaged: it has {len(content)} bytes, fewer than its header")
    flag, label, _, _ = _HEADER.unpack_from(content)
    if flag == 0:
        return Record(np.array([label], np.float32), content[_HEADER.size:])
    end = _HEADER.size + 4 * flag
    if flag > MAX_LABELS or end > len(content):
        raise ZooError(f"{where} is damaged: it announces {flag} labels")
    return Record(np.frombuffer(content[_HEADER.size:end], "<f4"), content[end:])


def read_index(path: str) -> np.ndarray:
    """Read an index, lines of a key and the offset of its record; keys count from 0 in any order.

    Returns:
        The offsets, int64 [records], by key.

    Raises:
        ZooError: the file is damaged.
    """
    numbers = array.array("q")
    try:
        with open(path, "rb") as file:
            rest = b""
            while True:
                block = file.read(_BLOCK_BYTES)
                lines, newline, rest = (rest + block).rpartition(b"\n") if block else (rest, b"", b"")
                if len(rest) > _MAX_LINE_BYTES:
                    raise ValueError(f"a line has more than {_MAX_LINE_BYTES} bytes")
                numbers.extend(map(int, lines.split()))
                if len(numbers) % 2:
                    raise ValueError("a line has no offset")
                if not block:
                    break
    except (ValueError, OverflowError) as error:
        raise ZooError(f"{path}: is damaged ({error}); expected lines of a key and an offset") from None
    keys, offsets = np.frombuffer(numbers, np.int64).reshape(-1, 2).T if numbers else np.zeros((2, 0), np.int64)
    if not (keys[1:] == keys[:-1] + 1).all() or len(keys) and keys[0]:
        order = np.argsort(keys, kind="stable")
        if not np.array_equal(keys[order], np.arange(len(keys))):
            raise ZooError(f"{path}: is damaged, its keys are not 0 to {len(keys) - 1}")
        return offsets[order]
    return offsets.copy()
