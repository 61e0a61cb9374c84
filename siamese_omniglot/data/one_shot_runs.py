"""Omniglot's official one-shot runs: 20 tasks within an alphabet, with 20 classes and 20 queries each.

`runNN/class_labels.txt` pairs `runNN/test/itemMM.png` with `runNN/training/classMM.png`. Folders and zip archives are
read in place.
"""
from __future__ import annotations

import os
import re
import zipfile
import zlib
from typing import IO, Callable, NamedTuple

import numpy as np

from common.data import listing
from common.errors import ZooError
from siamese_omniglot.data.omniglot import read_drawing

_MAX_BYTES = 1 << 20  # per file; a drawing has about 300
_DRAWING = re.compile(r"run\d+/(test|training)/[A-Za-z0-9_]+\.png")
_LABELS = re.compile(r"(.*/)?(run\d+)/class_labels\.txt")


class OneShotRun(NamedTuple):
    """One task."""

    name: str
    classes: np.ndarray  # uint8 [classes, 105, 105], one example each
    queries: np.ndarray  # uint8 [queries, 105, 105]
    answers: np.ndarray  # int64 [queries], index of the correct class


def load(path: str) -> list[OneShotRun]:
    """Load all runs of a folder or zip archive, sorted by name; ZooError if there are no runs, or one is damaged."""
    try:
        if os.path.isdir(path):
            names = [os.path.relpath(os.path.join(folder, file), path).replace(os.sep, "/")
                     for folder, _, files in listing.walk(path) for file in files if file == "class_labels.txt"]
            return _load(path, names, lambda name: _read(_open_regular(os.path.join(path, name))))
        with zipfile.ZipFile(path) as archive:
            return _load(path, archive.namelist(), lambda name: _read(archive.open(name)))
    except (OSError, KeyError, EOFError, UnicodeError, zlib.error, zipfile.BadZipFile, NotImplementedError,
            RuntimeError) as error:
        raise ZooError(f"{path}: the one-shot runs cannot be read ({str(error).strip()})") from None


def _load(path: str, names: list[str], read: Callable[[str], bytes]) -> list[OneShotRun]:
    runs = sorted(match.groups("") for match in map(_LABELS.fullmatch, names)
                  if match and not listing.is_path_left_behind(match.group()))
    if not runs:
        raise ZooError(f"{path}: holds no one-shot runs (runNN/class_labels.txt); expected the folder or the zip of "
                       "Omniglot's one_shot runs")
    return [_load_run(path, prefix, name, read) for prefix, name in runs]


def _load_run(path: str, prefix: str, name: str, read: Callable[[str], bytes]) -> OneShotRun:
    text = read(f"{prefix}{name}/class_labels.txt").decode("utf-8", "replace")
    pairs = [line.split() for line in text.splitlines() if line.strip()]
    if not pairs or any(len(pair) != 2 or not all(map(_DRAWING.fullmatch, pair)) for pair in pairs):
        raise ZooError(f"{path}: {name}/class_labels.txt is damaged, expected two file names a line, runNN/test/"
                       "itemMM.png and runNN/training/classMM.png")
    queries, answers = zip(*pairs)
    classes = sorted(set(answers))
    examples, drawings = (np.stack([read_drawing(f"{path}: {file}", content=read(prefix + file)) for file in files])
                          for files in (classes, queries))
    return OneShotRun(name, examples, drawings, np.array([classes.index(answer) for answer in answers]))


def _open_regular(path: str) -> IO[bytes]:
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: not a file")
    return open(path, "rb")


def _read(file: IO[bytes]) -> bytes:
    with file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise OSError(f"{file.name}: more than {_MAX_BYTES} bytes, larger than any file of Omniglot's one-shot runs")
    return content
