"""MNIST from its four IDX files, plain or .gz, and the training batches.

`python3 -m gitloss_tf1.mnist FOLDER` checks a folder.
"""
from __future__ import annotations

import gzip
import os
import struct
import sys
import zlib
from typing import Any, Iterable, NamedTuple

import numpy as np

from common.cli import program, shared_flags
from common.errors import ZooError

ROOT = os.path.dirname(os.path.abspath(__file__))
FOLDER_NAMES = ("mnist", "MNIST", "MNIST/raw", "MNIST_data", "FashionMNIST/raw", "fashion-mnist", "EMNIST/raw")
VALIDATION_SIZE = 5000
NUM_CLASSES = 10
SIDE = 28
_FILES = {
    "train images": "train-images-idx3-ubyte",
    "train labels": "train-labels-idx1-ubyte",
    "test images": "t10k-images-idx3-ubyte",
    "test labels": "t10k-labels-idx1-ubyte",
}
_EMNIST = ("digits", "mnist")  # its splits of ten classes
_IMAGES_MAGIC, _LABELS_MAGIC = 2051, 2049
_CHUNK = 1 << 20


class Split(NamedTuple):
    """Images and their labels."""

    images: np.ndarray  # uint8 [num, 28, 28, 1]
    labels: np.ndarray  # int64 [num], 0 to 9


class Mnist(NamedTuple):
    """The data set; the first images of the train file are the validation split, as in the original."""

    train: Split
    validation: Split
    test: Split
    mean_image: np.ndarray  # float32 [28, 28, 1], of the training images scaled to [0, 1]
    fingerprint: list  # [name, bytes] of each file, sorted
    notices: list  # lines to print


def has_data(folder: str) -> bool:
    """Return whether a folder holds at least one of the IDX files."""
    return any(_find(folder, name) for name in _FILES.values())


def find_folder(data_path: str | None) -> str:
    """Find the folder of the files: the value of --data_path, or one below it; ZooError without one."""
    return shared_flags.find_data_folder(data_path, ROOT, FOLDER_NAMES, has_data)


def load(folder: str) -> Mnist:
    """Load the four files of a folder.

    Raises ZooError if a file is missing, truncated, damaged, of another kind or empty, or its labels do not match.
    """
    paths = {}
    for what, name in _FILES.items():
        path = _find(folder, name)
        if path is None:
            raise ZooError(f"{os.path.join(folder, name)}[.gz]: missing ({what}); MNIST has four files, "
                           f"{', '.join(sorted(_FILES.values()))}")
        paths[what] = path
    whole = _load_split(paths["train images"], paths["train labels"])
    test = _load_split(paths["test images"], paths["test labels"])
    if len(whole.labels) < 2:
        raise ZooError(f"{paths['train images']}: has {len(whole.labels)} image, expected at least one for training "
                       "and one for validation")
    size, notices = VALIDATION_SIZE, []
    if len(whole.labels) <= VALIDATION_SIZE:
        size = max(1, len(whole.labels) // 12)
        notices.append(f"Notice: the train file has {len(whole.labels)} images, too few for a validation split of "
                       f"{VALIDATION_SIZE}: the first {size} are used for it (1/12, as 5,000 of MNIST's 60,000).")
    train = Split(whole.images[size:], whole.labels[size:])
    validation = Split(whole.images[:size], whole.labels[:size])
    mean_image = (train.images.mean(axis=0, dtype=np.float64) / 255.0).astype(np.float32)
    fingerprint = sorted([os.path.basename(path), os.path.getsize(path)] for path in paths.values())
    return Mnist(train, validation, test, mean_image, fingerprint, notices)


def preprocess(images: np.ndarray, mean_image: np.ndarray) -> np.ndarray:
    """Scale uint8 [num, 28, 28, 1] to float32 in [0, 1] and subtract the mean image."""
    return images.astype(np.float32) * np.float32(1.0 / 255.0) - mean_image


class Batches:
    """The endless sequence of training batches: shuffled epochs one after the other, divided into batches.

    A batch across the end of an epoch takes the rest of the old order and the beginning of the new one, so every image
    is used once in an epoch, and every batch is full. A batch depends only on the arguments, so runs can resume.
    """

    def __init__(self, num_images: int, batch_size: int, seed: int):
        self._num_images, self._batch_size, self._seed = num_images, batch_size, seed
        self._epoch, self._order = -1, np.zeros(0, np.int64)

    def indices(self, step: int) -> np.ndarray:
        """Return the indices of the images of the step after `step` updates, int64 [batch]."""
        position = step * self._batch_size
        pieces, missing = [], self._batch_size
        while missing:
            epoch, offset = divmod(position, self._num_images)
            if epoch != self._epoch:
                self._epoch = epoch
                self._order = np.random.RandomState([self._seed, epoch]).permutation(self._num_images)
            piece = self._order[offset:offset + missing]
            pieces.append(piece)
            missing -= len(piece)
            position += len(piece)
        return np.concatenate(pieces)


def read_images(path: str) -> np.ndarray:
    """Read an IDX file of 28 x 28 images, plain or .gz, as uint8 [num, 28, 28, 1]; raise ZooError for any other."""
    images = _read_idx(path, _IMAGES_MAGIC, (SIDE, SIDE))[..., None]
    is_transposed = os.path.basename(path).startswith("emnist-")  # all of EMNIST is
    return images.transpose(0, 2, 1, 3).copy() if is_transposed else images


def read_labels(path: str) -> np.ndarray:
    """Read an IDX file of labels, plain or .gz, as int64 [num], 0 to 9; raise ZooError for any other file."""
    labels = _read_idx(path, _LABELS_MAGIC, ()).astype(np.int64)
    if labels.max() >= NUM_CLASSES:
        first = int(np.argmax(labels >= NUM_CLASSES))
        raise ZooError(f"{path}: label {labels[first]} at position {first}, expected 0 to {NUM_CLASSES - 1}")
    return labels


def _find(folder: str, name: str) -> str | None:
    """Find a file by the name that it has in MNIST, in copies of it, or in EMNIST, of which there may be one split."""
    of_emnist = [f"emnist-{split}-{name.replace('t10k', 'test')}" for split in _EMNIST]
    of_mnist = _first_file(folder, (name, name.replace("-idx", ".idx"), os.path.join(name, name)))
    paths = [path for path in (of_mnist, *(_first_file(folder, (candidate,)) for candidate in of_emnist)) if path]
    if len(paths) > 1 and not of_mnist:
        raise ZooError(f"{folder}: has {' and '.join(map(os.path.basename, paths))}; remove the files of all "
                       "but one")
    return paths[0] if paths else None


def _first_file(folder: str, names: Iterable[str]) -> str | None:
    paths = (os.path.join(folder, name + suffix) for name in names for suffix in ("", ".gz"))
    return next(filter(os.path.isfile, paths), None)


def _load_split(images_path: str, labels_path: str) -> Split:
    images, labels = read_images(images_path), read_labels(labels_path)
    if len(images) != len(labels):
        raise ZooError(f"{images_path}: {len(images)} images, but {labels_path} has {len(labels)} labels")
    return Split(images, labels)


def _read_idx(path: str, magic: int, shape: tuple[int, ...]) -> np.ndarray:
    """Read an IDX file of items of a shape, plain or .gz, as uint8 [num, *shape]."""
    with gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb") as file:
        actual, num, *sides = struct.unpack(f">{2 + len(shape)}I", _read(path, file, 8 + 4 * len(shape)))
        if actual != magic:
            raise ZooError(f"{path}: not an IDX file of the right kind: begins with magic number {actual}, "
                           f"expected {magic}")
        if num == 0:
            raise ZooError(f"{path}: is empty, it announces 0 items")
        if tuple(sides) != shape:
            raise ZooError(f"{path}: images of {sides[0]} x {sides[1]}, expected {SIDE} x {SIDE}")
        items = _read(path, file, num * int(np.prod(shape)))
        if _read_some(path, file, 1):
            raise ZooError(f"{path}: has more bytes than the {num} items it announces")
    return np.frombuffer(items, np.uint8).reshape(num, *shape)


def _read(path: str, file: Any, size: int) -> bytearray:
    """Read exactly `size` bytes, in pieces, so that memory grows with the file and not with the size in its header."""
    data = bytearray()
    while len(data) < size:
        piece = _read_some(path, file, min(size - len(data), _CHUNK))
        if not piece:
            raise ZooError(f"{path}: is truncated, {len(data)} of {size} bytes are there")
        data += piece
    return data


def _read_some(path: str, file: Any, size: int) -> bytes:
    try:
        return file.read(size)
    except (EOFError, OSError, zlib.error) as error:
        raise ZooError(f"{path}: cannot be read, damaged, or not a gzip file ({error})") from None


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Check a folder: load it and print what is in it; return the exit status."""
    (folder,) = program.positionals(arguments, "python3 -m gitloss_tf1.mnist FOLDER")
    data = load(folder)
    print(*data.notices, f"{len(data.train.labels)} training, {len(data.validation.labels)} validation and "
          f"{len(data.test.labels)} test images; training images of each digit: "
          f"{' '.join(map(str, np.bincount(data.train.labels, minlength=NUM_CLASSES)))}", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
