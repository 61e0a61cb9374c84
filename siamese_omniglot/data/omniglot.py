"""Drawings of characters from folders, their split into training and validation, and the pairs drawn from them.

The folders hold `<Alphabet>/<character>/<drawing>.png`; the drawings are kept in memory. Every random number is a
function of seed and position. A resumed run therefore continues exactly, and all workers of a data-parallel run draw
the same batch. `python3 -m siamese_omniglot.data.omniglot FOLDER` checks a folder.
"""
from __future__ import annotations

import functools
import os
import random
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
SPLIT_SEED = 1  # the original's
TRAIN_SHARE = 0.9
TRAIN, VALIDATION, EPISODES = 0, 1, 2  # streams of random numbers
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


def find(data_path: str | None, model_root: str) -> str:
    """Return the folder of the alphabets for --data_path; ZooError if there is none, or more than one."""
    path = shared_flags.find_path("data_path", data_path, model_root)
    inside = listing.folders(path)
    known = [name for name in inside if _KNOWN_FOLDER.fullmatch(name)]
    datasets = listing.folders(os.path.join(path, "datasets"))
    names = [*(known or (inside if len(inside) == 1 else ["images_background"])), "datasets",
             *(f"datasets/{name}" for name in datasets if _KNOWN_FOLDER.fullmatch(name))]
    deeper = []
    for name in names:
        folder = os.path.join(path, *name.split("/"))
        below = listing.folders(folder)
        if len(below) == 1 and not has_data(folder):  # an archive that was unpacked into a folder of its name
            deeper.append(f"{name}/{below[0]}")
    candidates = [name for name in names + deeper
                  if not has_data(os.path.dirname(os.path.join(path, name)))]  # an alphabet of the data is no candidate
    return shared_flags.find_data_folder(data_path, model_root, candidates, has_data)


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


class Split(NamedTuple):
    """Indices of the drawings for training and for validation, int64 [num]."""

    train: np.ndarray
    validation: np.ndarray


class Pairs(NamedTuple):
    """Pairs of drawings."""

    first: np.ndarray  # int64 [num], indices of drawings
    second: np.ndarray  # int64 [num], indices of the other drawings
    labels: np.ndarray  # float32 [num], 1 for pairs of one character, 0 for others


def split(data: Drawings, unit: str) -> Split:
    """Split the drawings into 90 % of the units for training and 10 % for validation.

    With the unit "image", as in the original, both parts hold the same characters; with "character" or "alphabet" those
    of the validation part are not in the training part. Raises ZooError if there are fewer than two units.
    """
    if unit == "image":
        order = shuffled(len(data.labels))
        num_train = int(TRAIN_SHARE * len(order))
        return Split(order[:num_train], order[num_train:])
    group_of = [name if unit == "character" else name.split("/")[0] for name in data.characters]
    groups = list(dict.fromkeys(group_of))
    num_train = max(1, int(TRAIN_SHARE * len(groups)))
    if len(groups) < 2:
        raise ZooError(f"--split={unit}: the data hold {len(groups)} {unit}, at least 2 are needed; use "
                       "--split=character or --split=image")
    chosen = {groups[number] for number in shuffled(len(groups))[:num_train]}
    is_train = np.array([group in chosen for group in group_of])[data.labels]
    parts = Split(np.flatnonzero(is_train), np.flatnonzero(~is_train))
    assert not set(data.labels[parts.train]) & set(data.labels[parts.validation])
    return parts


def shuffled(num: int) -> np.ndarray:
    """Return 0 to num - 1 in the original's random order (Python's generator, seed 1)."""
    order = list(range(num))
    random.Random(SPLIT_SEED).shuffle(order)
    return np.array(order)


class PairSampler:
    """Draws samples of two pairs: one of the same character and one of two characters."""

    def __init__(self, data: Drawings, indices: np.ndarray, seed: int, use_all_characters: bool,
                 advice: str = "give more data or another --split"):
        """Group the drawings of a part by character.

        Raises ZooError if no pairs can be drawn.

        Args:
            data: all drawings.
            indices: int64 [num], the drawings of the part.
            seed: seed of the pairs.
            use_all_characters: False leaves out the last character of the data set, as the original does.
            advice: what to do if no pairs can be drawn, for the error.
        """
        labels = data.labels[indices]
        limit = len(data.characters) - (0 if use_all_characters else 1)
        by_character = [indices[labels == character] for character in range(limit)]
        groups = [group for group in by_character if len(group)]
        self._sizes = np.array([len(group) for group in groups], np.int64)
        self._starts = np.cumsum(self._sizes) - self._sizes  # of the groups in `_drawings`
        self._drawings = np.concatenate([np.empty(0, np.int64), *groups])
        self._anchors = np.flatnonzero(self._sizes >= MIN_IMAGES)
        self.num_drawings = len(indices)
        self._seed = seed
        if not len(self._anchors) or len(groups) < 2:
            left_out = "" if use_all_characters else ", the last character left out"
            raise ZooError(f"{len(indices)} drawings give no pairs: {len(groups)} characters, "
                           f"{len(self._anchors)} of them with {MIN_IMAGES} drawings or more{left_out}; 2 and 1 are "
                           f"needed: {advice}")

    def draw(self, num_samples: int, stream: int, number: int, permute: str, positions: np.ndarray | None = None
             ) -> Pairs:
        """Draw one batch of 2 * num_samples pairs, half of them of one character, or a part of it.

        Args:
            num_samples: samples in the batch.
            stream: TRAIN or VALIDATION.
            number: index of the batch.
            permute: "batch" permutes all pairs, "sample" the two of each sample.
            positions: int64 [num], positions in the batch of the pairs to return; all by default.
        """
        random_state = np.random.RandomState([self._seed, stream, number])
        order = random_state.permutation(2 * num_samples) if permute == "batch" else np.arange(2 * num_samples)
        uniform = random_state.random_sample((num_samples, 7))
        wanted = order if positions is None else order[positions]
        return self._drawn(uniform[wanted // 2].T, wanted % 2, permute == "sample")

    def _drawn(self, uniform: np.ndarray, is_second: np.ndarray, is_shuffled: bool) -> Pairs:
        """Draw one of the two pairs of samples from random numbers in [0, 1), float64 [7, num].

        `is_second`, int64 [num], is 1 for the second pair of a sample: the one of two characters, the first is of one.
        With `is_shuffled` they are swapped in half of the samples.
        """
        group = self._anchors[_index(uniform[0], len(self._anchors))]
        one, two, three = _three(uniform[1:4], self._sizes[group])
        other = _index(uniform[4], len(self._sizes) - 1)
        other += other >= group
        is_other = is_second != ((uniform[6] < 0.5) & is_shuffled)
        first = self._starts[group] + np.where(is_other, three, one)
        second = np.where(is_other, self._starts[other] + _index(uniform[5], self._sizes[other]),
                          self._starts[group] + two)
        return Pairs(self._drawings[first], self._drawings[second], (~is_other).astype(np.float32))


def _index(uniform: np.ndarray, num: np.ndarray | int) -> np.ndarray:
    """Turn random numbers in [0, 1) into indices below `num`, int64."""
    return (uniform * num).astype(np.int64)


def _three(uniform: np.ndarray, num: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Turn random numbers, float64 [3, ...], into three indices below `num`, all different."""
    one, two, three = _index(uniform[0], num), _index(uniform[1], num - 1), _index(uniform[2], num - 2)
    two += two >= one
    for taken in (np.minimum(one, two), np.maximum(one, two)):
        three += three >= taken
    return one, two, three


def samplers(data: Drawings, parts: Split, seed: int, use_all_characters: bool) -> dict[str, PairSampler]:
    """Return the samplers of "train" and "validation"; ZooError if no pairs can be drawn in one of them."""
    made = {}
    for name, indices in parts._asdict().items():
        try:
            made[name] = PairSampler(data, indices, seed, use_all_characters)
        except ZooError as error:
            raise ZooError(f"{name}: {error}") from None
    return made


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
