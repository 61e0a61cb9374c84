"""Verification sets as insightface exchanges them (lfw.bin, cfp_fp.bin, agedb_30.bin): a pickled pair of lists, the
contents of two image files for each pair, and whether they are of one person.
"""
from __future__ import annotations

import os
from typing import Any

import numpy as np

from circleloss_tf1 import lfw
from common.data import images, plain_pickle
from common.errors import ZooError

SUFFIX = ".bin"
_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png"}


def read(path: str) -> tuple[list[bytes], np.ndarray]:
    """Read the contents of images, [2 * pairs], and whether pairs are the same, bool [pairs]; execute nothing.

    Raises ZooError if the file is not a verification set.
    """
    lists = plain_pickle.read_plain(path)
    if not isinstance(lists, (tuple, list)) or len(lists) != 2 or not all(isinstance(part, list) for part in lists) \
            or len(lists[0]) != 2 * len(lists[1]) or not lists[1]:
        raise ZooError(f"{path}: is not a verification set, expected a list of images and a list with half as many "
                       "flags")
    contents = [_bytes_of(value) for value in lists[0]]
    for number, content in enumerate(contents):
        if images.format_of(content) not in _SUFFIXES:
            raise ZooError(f"{path}: image {number} {images.describe(content)}, expected JPEG or PNG")
    if not all(isinstance(flag, (bool, int)) for flag in lists[1]):
        raise ZooError(f"{path}: the second list holds {type(lists[1][0]).__name__}, expected True or False")
    return contents, np.array(lists[1], bool)


def _bytes_of(value: Any) -> bytes:
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, str):  # as Python 2 wrote bytes
        return value.encode("latin1", "replace")
    return value if isinstance(value, bytes) else b""


def extract(path: str, folder: str, num_folds: int) -> lfw.Pairs:
    """Write the images of a set to files of a folder, where existing ones are replaced, and return its pairs.

    Raises ZooError as `read`, or if there are fewer pairs than the folds need.
    """
    contents, is_same = read(path)
    os.makedirs(folder, exist_ok=True)
    paths = []
    for number, content in enumerate(contents):
        suffix = _SUFFIXES[images.format_of(content) or ""]
        paths.append(os.path.join(folder, f"{number // 2:06d}_{number % 2}{suffix}"))
        with open(paths[-1], "wb") as file:
            file.write(content)
    return lfw.in_balanced_folds(paths, is_same, num_folds, path, [])
