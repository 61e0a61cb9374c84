"""Training sets of insightface, such as faces_emore: `train.rec`, `train.idx` and `property`, read in place.

Record 0 says where the images end: its labels are the key of the first person and the key after the last one. The
record of a person says which keys the images of the person have. In sets without such records every image names its
person.
"""
from __future__ import annotations

import os
import zlib
from typing import BinaryIO

import numpy as np

from circleloss_tf1 import recordio
from circleloss_tf1.faces import Faces, Names
from common.errors import ZooError

RECORDS, INDEX, PROPERTY = "train.rec", "train.idx", "property"
_HEADER_BYTES = 256  # of a record, enough for its labels
_SEPARATOR = b"@"  # between the path of the file and the offset of a record


class RecordFaces(Faces):
    """Images in a file of records; a million of them take 12 MB."""

    def __init__(self, folder: str, labels: np.ndarray, offsets: np.ndarray, notices: list[str]):
        """Take images in the order of their people.

        Args:
            folder: with the three files.
            labels: int32 [images].
            offsets: int64 [images], of the records.
            notices: lines to print.
        """
        people = [b"%d" % number for number in range(int(labels[-1]) + 1)]
        crc = zlib.crc32(labels, zlib.crc32(offsets, os.path.getsize(os.path.join(folder, RECORDS))))
        super().__init__(folder, people, labels, Names.of([]), crc, notices)
        self._offsets = offsets

    def path(self, index: int) -> bytes:
        """Return what `read` takes for an image."""
        return os.path.join(os.fsencode(self.folder), RECORDS.encode()) + _SEPARATOR + self.name(index)

    def name(self, index: int) -> bytes:
        """Return the offset of an image's record."""
        return b"%d" % self._offsets[index]

    def take(self, indices: np.ndarray) -> Faces:
        """Return the images at rising `indices`; people without an image are dropped, and classes are renumbered."""
        _, labels = np.unique(self.labels[indices], return_inverse=True)
        return RecordFaces(self.folder, labels.astype(np.int32), self._offsets[indices], self.notices)

    @staticmethod
    def read(path: bytes) -> bytes:
        """Return the file of an image.

        Raises:
            ZooError: its record is damaged, or the file of records is missing.
        """
        name, _, offset = path.rpartition(_SEPARATOR)
        try:
            with open(os.fsdecode(name), "rb") as file:
                return recordio.read(file, int(offset)).image
        except OSError as error:
            raise ZooError(f"{os.fsdecode(name)}: {error.strerror}") from None


def has_records(folder: str) -> bool:
    """Whether a folder holds such a set."""
    return os.path.isfile(os.path.join(folder, RECORDS))


def scan(folder: str) -> RecordFaces:
    """List the images; of the records only those of people are read, if there are any.

    Raises:
        ZooError: a file is missing or damaged, or there are fewer than two people.
    """
    records, index = os.path.join(folder, RECORDS), os.path.join(folder, INDEX)
    if not os.path.isfile(index):
        raise ZooError(f"{index}: missing; it says where the records in {RECORDS} begin")
    offsets = recordio.read_index(index)
    if len(offsets) < 2 or offsets.min() < 0 or offsets.max() >= os.path.getsize(records):
        raise ZooError(f"{index}: has {len(offsets)} records, of which some are not in {RECORDS}; the two files do not "
                       "belong together")
    with open(records, "rb") as file:
        labels, offsets = _labels_of(file, offsets)
    if len(labels) == 0 or labels[-1] < 1:
        raise ZooError(f"{records}: images of {len(np.unique(labels))} people, expected at least 2")
    return RecordFaces(folder, labels, offsets, _check_property(folder, int(labels[-1]) + 1))


def _labels_of(file: BinaryIO, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the person of each image, int32, ascending from 0, and the offsets of the images."""
    first = recordio.read(file, offsets[0], _HEADER_BYTES)
    if len(first.image) or len(first.labels) < 2:  # an image as any other
        people = np.array([recordio.read(file, offset, _HEADER_BYTES).labels[0] for offset in offsets])
        order = np.argsort(people, kind="stable")
        return np.unique(people[order], return_inverse=True)[1].astype(np.int32), offsets[order]
    begin, end = (int(label) if 0 < label < 2 ** 31 else 0 for label in first.labels[:2])
    if not 1 < begin < end <= len(offsets):
        raise ZooError(f"{file.name}: record 0 announces people from {begin} to {end}, but there are {len(offsets)} "
                       "records")
    labels = np.full(begin, -1, np.int32)  # by key
    person = 0
    for key in range(begin, end):
        start, stop = (int(label) if 0 < label < 2 ** 31 else 0
                       for label in _two(recordio.read(file, offsets[key], _HEADER_BYTES).labels))
        if not 0 < start <= stop <= begin or (labels[start:stop] >= 0).any():
            raise ZooError(f"{file.name}: record {key} announces images from {start} to {stop} of a person, out of 1 "
                           f"to {begin}, each of one person")
        labels[start:stop] = person
        person += stop > start
    keys = np.flatnonzero(labels >= 0)
    keys = keys[np.argsort(labels[keys], kind="stable")]
    return labels[keys], offsets[keys]


def _two(labels: np.ndarray) -> list[float]:
    return [*labels[:2].tolist(), 0.0, 0.0][:2]


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
