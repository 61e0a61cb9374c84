"""Training sets of insightface, such as faces_emore: `train.rec`, `train.idx` and `property`, read in place.

train.rec is a file of records as MXNet writes them. A record consists of parts: the magic number, kind and length in
one uint32, content, zeros up to a multiple of 4 bytes. Most records have one part; where the content itself has the
magic number it is left out and separates two parts. The content begins with flag (uint32), label (float32) and two ids
(uint64); if flag is not 0, as many float32 follow, which are the labels. The rest is the file of an image.

Record 0 says where the images end: its labels are the key of the first person and the key after the last one. The
record of a person says which keys the images of the person have. In sets without such records every image names its
person.
"""
from __future__ import annotations

import os
import struct
import warnings
from typing import BinaryIO, NamedTuple

import numpy as np

from common.errors import ZooError

RECORDS, INDEX, PROPERTY = "train.rec", "train.idx", "property"
_MAX_BYTES = 1 << 26  # of a record
_MAGIC = struct.pack("<I", 0xCED7230A)
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)  # kinds of parts
_HEADER = struct.Struct("<IfQQ")
_LABELS_BYTES = 256  # of a record, enough for the labels of a person


class Record(NamedTuple):
    """A record: its labels, float32, and the file of its image."""

    labels: np.ndarray
    image: bytes


def read_record(file: BinaryIO, offset: int, max_bytes: int = _MAX_BYTES) -> Record:
    """Read the record at an offset, of at most `max_bytes`; ZooError if no record begins there, or it is damaged."""
    where = f"{file.name}: the record at byte {offset}"
    file.seek(offset)
    content, expected = bytearray(), (_WHOLE, _FIRST)
    while True:
        head = file.read(8)
        if len(head) < 8 or head[:4] != _MAGIC:
            raise ZooError(f"{where} begins with {head[:4]!r}, expected the magic number of MXNet's records; do "
                           "train.rec and train.idx belong together?")
        kind, length = divmod(struct.unpack("<I", head[4:])[0], 1 << 29)
        if kind not in expected or len(content) + length > _MAX_BYTES:
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
    if end > len(content):
        raise ZooError(f"{where} is damaged: it announces {flag} labels")
    return Record(np.frombuffer(content[_HEADER.size:end], "<f4"), content[end:])


def read_index(path: str) -> np.ndarray:
    """Read the lines of an index, a key and an offset each: offsets by key, int64 [records]; ZooError if damaged."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # what NumPy says of text that is no number
            numbers = np.fromfile(path, np.int64, sep=" ")
        keys, offsets = numbers.reshape(-1, 2).T
    except (ValueError, DeprecationWarning) as error:
        raise ZooError(f"{path}: is damaged ({error}); expected lines of a key and an offset") from None
    order = np.argsort(keys, kind="stable")  # keys count from 0 in any order
    if not np.array_equal(keys[order], np.arange(len(keys))):
        raise ZooError(f"{path}: is damaged, its keys are not 0 to {len(keys) - 1}")
    return offsets[order]


def has_records(folder: str) -> bool:
    """Whether a folder holds such a set."""
    return os.path.isfile(os.path.join(folder, RECORDS))


def read(path: bytes) -> bytes:
    """Return the file of the image at <file of records>@<offset>; ZooError if it is damaged, or the file missing."""
    name, _, offset = path.rpartition(b"@")
    try:
        with open(os.fsdecode(name), "rb") as file:
            return read_record(file, int(offset)).image
    except OSError as error:
        raise ZooError(f"{os.fsdecode(name)}: {error.strerror}") from None


def scan(folder: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """List the images; of the records only those of people are read, if there are any.

    Return the person of each image, int32, ascending from 0, the offsets of their records, int64, and a warning if the
    file `property` gives another number of people. Raises ZooError if the files are damaged or do not belong together,
    or there are fewer than two people.
    """
    records, index = os.path.join(folder, RECORDS), os.path.join(folder, INDEX)
    if not os.path.isfile(index):
        raise ZooError(f"{index}: missing; it says where the records in {RECORDS} begin")
    offsets = read_index(index)
    if len(offsets) < 2 or offsets.min() < 0 or offsets.max() >= os.path.getsize(records):
        raise ZooError(f"{index}: has {len(offsets)} records, of which some are not in {RECORDS}; the two files do not "
                       "belong together")
    with open(records, "rb") as file:
        labels, offsets = _labels_of(file, offsets)
    if len(labels) == 0 or labels[-1] < 1:
        raise ZooError(f"{records}: images of {len(np.unique(labels))} people, expected at least 2")
    return labels, offsets, _check_property(folder, int(labels[-1]) + 1)


def _labels_of(file: BinaryIO, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the person of each image, int32, ascending from 0, and the offsets of the images."""
    first = read_record(file, offsets[0], _LABELS_BYTES)
    if len(first.image) or len(first.labels) < 2:  # an image as any other
        people = np.array([read_record(file, offset, _LABELS_BYTES).labels[0] for offset in offsets])
        order = np.argsort(people, kind="stable")
        return np.unique(people[order], return_inverse=True)[1].astype(np.int32), offsets[order]
    begin, end = _keys(first)
    if not 1 < begin < end <= len(offsets):
        raise ZooError(f"{file.name}: record 0 announces people from {begin} to {end}, but there are {len(offsets)} "
                       "records")
    labels = np.full(begin, -1, np.int32)  # by key
    person = 0
    for key in range(begin, end):
        start, stop = _keys(read_record(file, offsets[key], _LABELS_BYTES))
        if not 0 < start <= stop <= begin or (labels[start:stop] >= 0).any():
            raise ZooError(f"{file.name}: record {key} announces images from {start} to {stop} of a person, out of 1 "
                           f"to {begin}, each of one person")
        labels[start:stop] = person
        person += stop > start
    keys = np.flatnonzero(labels >= 0)
    keys = keys[np.argsort(labels[keys], kind="stable")]
    return labels[keys], offsets[keys]


def _keys(record: Record) -> tuple[int, int]:
    """Return the first two labels of a record, which are keys; 0 for what cannot be one."""
    first, second, *_ = (int(label) if 0 < label < 2 ** 31 else 0 for label in (*record.labels[:2], 0, 0))
    return first, second


def _check_property(folder: str, num_people: int) -> list[str]:
    """Return a warning if the file `property` gives another number of people than the records."""
    path = os.path.join(folder, PROPERTY)
    try:
        with open(path, "rb") as file:
            told = file.read(100).decode("ascii", "replace").split(",")[0].strip()
    except OSError:
        return [f"Notice: {path}: cannot be read; the number of people, {num_people}, is that of the records"]
    return [] if told == str(num_people) else [
        f"Warning: {path}: says {told!r} people, but the records are of {num_people}"]
