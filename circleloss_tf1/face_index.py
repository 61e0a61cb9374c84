"""A file that keeps the list of the images of a folder, so that a set of millions is listed once.

The list is used again as long as the folder has the same sub-folders, and none of them was changed: a file that comes,
goes or gets another name changes the time of its folder. A file that is written again in its place does not; delete the
index then.
"""
from __future__ import annotations

import os
import zipfile
import zlib

import numpy as np

from circleloss_tf1 import faces as face_data
from circleloss_tf1.faces import Faces, Names
from common import atomic_files

_VERSION = 1


def scan(folder: str, path: str) -> Faces:
    """List the images of a folder as `faces.scan` does, or take the list from the index if it is still true.

    Args:
        folder: the data folder.
        path: of the index, which is written if it is missing or no longer true.
    """
    stamp = _stamp(folder)
    found = _read(folder, path, stamp)
    if found is not None:
        return found
    faces = face_data.scan(folder)
    atomic_files.write_bytes(path, _content(faces, stamp))
    return faces


def _stamp(folder: str) -> list[int]:
    """Return the number of sub-folders and a checksum of their names and of the times when they were changed."""
    with os.scandir(os.fsencode(folder)) as entries:
        folders = sorted((entry.name, entry.stat().st_mtime_ns) for entry in entries if entry.is_dir())
    crc = 0
    for name, changed in folders:
        crc = zlib.crc32(b"%s/%d/" % (name, changed), crc)
    return [_VERSION, len(folders), crc]


def _content(faces: Faces, stamp: list[int]) -> bytes:
    notices = "\n".join(faces.notices).encode("utf-8", "surrogateescape")
    people = Names.of(faces.people)
    return atomic_files.npz(stamp=np.array(stamp), labels=faces.labels, names=_as_array(faces.names.joined),
                            ends=faces.names.ends, people=_as_array(people.joined), people_ends=people.ends,
                            crc=np.array(faces.fingerprint[2]), notices=_as_array(notices))


def _as_array(text: bytes) -> np.ndarray:
    return np.frombuffer(text, np.uint8)


def _read(folder: str, path: str, stamp: list[int]) -> Faces | None:
    """Return the list of an index; None if there is none, or it is that of another state of the folder."""
    if not os.path.isfile(path):
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if arrays["stamp"].tolist() != stamp:
                print(f"{path}: {folder} has changed, so its images are listed again", flush=True)
                return None
            people = Names(arrays["people"].tobytes(), arrays["people_ends"])
            notices = arrays["notices"].tobytes().decode("utf-8", "surrogateescape").splitlines()
            return Faces(folder, [people.at(person) for person in range(len(people.ends))], arrays["labels"],
                         Names(arrays["names"].tobytes(), arrays["ends"]), int(arrays["crc"]), notices)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        print(f"Warning: {path}: is not an index of images, or damaged ({error}); it is written again", flush=True)
        return None
