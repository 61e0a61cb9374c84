"""Drawn digits in the four IDX files."""
from __future__ import annotations

import gzip
import os
import struct

import numpy as np

# Ten digits of 5 x 7 cells; # is ink.
_GLYPHS = (
    ".###.#...##...##...##...##...#.###.", "..#...##....#....#....#....#...###.",
    ".###.#...#....#...#...#...#...#####", ".###.#...#....#..##.....##...#.###.",
    "...#...##..#.#.#..#.#####...#....#.", "######....####.....#....##...#.###.",
    ".###.#....#....####.#...##...#.###.", "#####....#...#...#...#....#....#...",
    ".###.#...##...#.###.#...##...#.###.", ".###.#...##...#.####....#....#.###.",
)  # fmt: skip
_SCALE = 3


def draw(labels: np.ndarray, seed: int) -> np.ndarray:
    """Draw digits of random position and intensity on noise, uint8 [num, 28, 28]; `labels` is int [num], 0 to 9."""
    random = np.random.RandomState(seed)
    images = random.randint(0, 40, (len(labels), 28, 28))
    for image, label in zip(images, labels):
        cells = np.array([cell == "#" for cell in _GLYPHS[label]]).reshape(7, 5)
        ink = np.kron(cells, np.ones((_SCALE, _SCALE), int)) * random.randint(150, 216)
        top, left = random.randint(0, 28 - ink.shape[0] + 1), random.randint(4, 28 - ink.shape[1] - 3)
        image[top:top + ink.shape[0], left:left + ink.shape[1]] += ink
    return images.astype(np.uint8)


def make(folder: str, num_train: int = 600, num_test: int = 120, seed: int = 0) -> None:
    """Write the four files, gzipped."""
    os.makedirs(folder, exist_ok=True)
    for name, num, part_seed in (("train", num_train, seed), ("t10k", num_test, seed + 1)):
        labels = np.random.RandomState(part_seed).permutation(np.arange(num) % 10)
        write_idx(os.path.join(folder, f"{name}-images-idx3-ubyte.gz"), draw(labels, part_seed))
        write_idx(os.path.join(folder, f"{name}-labels-idx1-ubyte.gz"), labels.astype(np.uint8))


def write_idx(path: str, array: np.ndarray) -> None:
    """Write a uint8 array as an IDX file, gzipped if the name ends in .gz."""
    content = struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    with open(path, "wb") as file:
        file.write(gzip.compress(content) if path.endswith(".gz") else content)
