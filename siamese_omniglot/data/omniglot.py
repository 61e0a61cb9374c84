"""Drawings of characters from folders `<Alphabet>/<character>/<drawing>.png`, kept in memory.

`python3 -m siamese_omniglot.data.omniglot FOLDER` checks a folder.
"""
from __future__ import annotations

import functools
import os
import re
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from common import console
from common.cli import program, shared_flags
from common.data import images, listing
from common.errors import ZooError

SIDE = 105  # height and width of a drawing, in pixels
MIN_IMAGES = 3  # per character: two for the pair of one character, one for the other pair
_KNOWN_FOLDER = re.compile(r"images?_background.*")
_ONE_SHOT_RUN = re.compile(r"run\d\d")  # one-shot runs may lie beside the alphabets
_FILE_THREADS = 4


class DrawingStore:
    """Drawings in memory, one bit per pixel if all are black and white, as Omniglot's are, else one byte.

    `rows`, uint8 [drawings, bytes], are the pixels of each drawing; `is_packed` tells whether a pixel is a bit.
    """

    def __init__(self, drawings: list[np.ndarray]):
        """Store drawings, uint8 [105, 105]."""
        self.is_packed = all(bool(np.isin(drawing, (0, 255)).all()) for drawing in drawings)
        self.rows = np.stack([np.packbits(drawing > 0) if self.is_packed else drawing.reshape(-1)
                              for drawing in drawings])

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Return drawings as uint8 [num, 105, 105], 0 to 255."""
        rows = self.rows[indices]
        if self.is_packed:
            rows = np.unpackbits(rows, axis=1, count=SIDE * SIDE)
            np.negative(rows, out=rows)  # of 1 is 255
        return rows.reshape(-1, SIDE, SIDE)


class Drawings(NamedTuple):
    """A data set."""

    store: DrawingStore
    labels: np.ndarray  # int64 [num], index of the character, ascending
    characters: list  # "Alphabet/character" by index
    names: list  # "Alphabet/character/file" of every drawing
    fingerprint: list  # [number of drawings, bytes of all files, CRC of names and sizes]
    notices: list  # lines to print

    def alphabet_of(self, label: int) -> str:
        """Return the alphabet of a character."""
        return self.characters[label].split("/")[0]


def folder_names(data_path: str) -> list[str]:
    """Return the names of subfolders of an existing folder that may hold the alphabets."""
    inside = listing.folders(data_path)
    known = [name for name in inside if _KNOWN_FOLDER.fullmatch(name)]
    datasets = listing.folders(os.path.join(data_path, "datasets"))
    names = [*(known or (inside if len(inside) == 1 else ["images_background"])), "datasets",
             *(f"datasets/{name}" for name in datasets if _KNOWN_FOLDER.fullmatch(name))]
    deeper = []
    for name in names:
        folder = os.path.join(data_path, *name.split("/"))
        below = listing.folders(folder)
        if len(below) == 1 and not has_data(folder):  # an archive that was unpacked into a folder of its name
            deeper.append(f"{name}/{below[0]}")
    return names + deeper


def find(data_path: str | None, model_root: str) -> str:
    """Return the folder of the alphabets for --data_path; ZooError if there is none, or more than one."""
    path = shared_flags.find_path("data_path", data_path, model_root)
    names = [name for name in folder_names(path)
             if not has_data(os.path.dirname(os.path.join(path, name)))]  # an alphabet of the data is no candidate
    return shared_flags.find_data_folder(data_path, model_root, names, has_data)


def has_data(folder: str) -> bool:
    """Return whether a folder holds <Alphabet>/<character>/<drawing>.png, or the characters of one alphabet."""
    return any(names for _, names in _characters(folder))


def load(folder: str, upright: bool = False) -> Drawings:
    """Load every drawing of a folder; `upright` applies the EXIF orientation.

    Raises ZooError if a drawing cannot be read or has another size, or there are fewer than two characters.
    """
    characters, names, labels, notices = [], [], [], []
    for character, files in _characters(folder):
        if not files:
            notices.append(f"Notice: {os.path.join(folder, character)} holds no .png and is skipped.")
            continue
        names += [f"{character}/{name}" for name in files]
        labels += [len(characters)] * len(files)
        characters.append(character)
    notices += [f"Notice: {os.path.join(folder, alphabet)} holds no character and is skipped."
                for alphabet in _alphabets(folder) if not listing.folders(os.path.join(folder, alphabet))]
    if characters and characters[0].startswith("./"):
        notices.append(f"Notice: {folder} holds characters and no alphabets; it is treated as one alphabet.")
    if len(characters) < 2:
        raise ZooError(f"{folder}: holds {len(characters)} character with drawings, at least 2 are needed; expected "
                       "<Alphabet>/<character>/<drawing>.png")
    paths = [os.path.join(folder, *name.split("/")) for name in names]
    if not upright:
        notices += images.orientation_notices(paths.__getitem__, len(paths), "--exif_orientation turns them")
    with ThreadPoolExecutor(_FILE_THREADS) as pool:
        read = pool.map(functools.partial(read_drawing, upright=upright), paths)
        drawings = list(console.progress(read, "reading drawings", "drawing", len(paths)))
    return Drawings(DrawingStore(drawings), np.array(labels), characters, names, _fingerprint(names, paths), notices)


def read_drawing(path: str, upright: bool = False, content: bytes | None = None) -> np.ndarray:
    """Read a drawing, from a file or its content, as uint8 [105, 105]; `upright` applies the EXIF orientation.

    Raises ZooError if it cannot be read, or has another size.
    """
    drawing = np.asarray(images.open_image(path, "L", content, upright=upright), np.uint8)
    if drawing.shape != (SIDE, SIDE):
        raise ZooError(f"{path}: is {drawing.shape[1]} x {drawing.shape[0]} pixels, expected {SIDE} x {SIDE}; resize "
                       "or remove it")
    return drawing


def _characters(folder: str) -> list[tuple[str, list[str]]]:
    """Return ("Alphabet/character", names of its .png files) of every character, sorted."""
    characters = []
    for alphabet in _alphabets(folder):
        for character in listing.folders(os.path.join(folder, alphabet)):
            files = listing.files(os.path.join(folder, alphabet, character), (".png",))
            characters.append((f"{alphabet}/{character}", files))
    return characters


def _alphabets(folder: str) -> list[str]:
    """Names of the alphabets; "." for a folder that is an alphabet itself."""
    names = [name for name in listing.folders(folder) if not _ONE_SHOT_RUN.fullmatch(name)]
    is_alphabet = any(listing.files(os.path.join(folder, name), (".png",)) for name in names)
    return ["."] if is_alphabet else names


def _fingerprint(names: list[str], paths: list[str]) -> list:
    sizes = [os.path.getsize(path) for path in paths]
    text = "\n".join(f"{name} {size}" for name, size in zip(names, sizes))
    return [len(names), sum(sizes), zlib.crc32(text.encode("utf-8"))]


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Load a folder and print what it holds; return the exit status."""
    (folder,) = program.positionals(arguments, "python3 -m siamese_omniglot.data.omniglot FOLDER")
    data = load(find(folder, os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    for line in data.notices:
        print(line)
    counts = np.bincount(data.labels)
    alphabets = sorted({character.split("/")[0] for character in data.characters})
    print(f"{len(data.labels)} drawings of {len(data.characters)} characters in {len(alphabets)} alphabets, "
          f"{counts.min()} to {counts.max()} a character, {data.store.rows.nbytes / 1e6:.1f} MB in memory")
    return 0


if __name__ == "__main__":
    sys.exit(main())
