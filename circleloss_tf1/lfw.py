"""Labelled Faces in the Wild: the pairs to verify.

pairs.txt: a first line `folds<TAB>pairs`, then for each fold that many lines `name a b` (images a and b of one person)
and that many `name a other b` (images of two people), separated by tabs or blanks; the first line may be missing. An
image is <folder>/<name>/<name>_<number with 4 digits>.jpg, else .jpeg, else .png.
"""
from __future__ import annotations

import csv
import io
import os
import re
from typing import NamedTuple, Sequence

import numpy as np

from circleloss_tf1.faces import SUFFIXES
from common.errors import ZooError
from common.evaluation import verification

FOLDER_NAMES = ("lfw-deepfunneled_align", "dataset/lfw-deepfunneled_align")
PAIRS_FILE = "pairs.txt"
DISTANCES_FILE = "pairs.csv"
_SAME = re.compile(r"(\D+?)\s+(\d+)\s+(\d+)")
_DIFFERENT = re.compile(r"(\D+?)\s+(\d+)\s+(\D+?)\s+(\d+)")


class Pairs(NamedTuple):
    """Pairs to verify."""

    paths: list  # str [2 * pairs], the two images of each pair
    is_same: np.ndarray  # bool [pairs]
    notices: list  # lines about missing images or another order


def read_pairs(pairs_path: str, folder: str, num_folds: int, missing: str) -> Pairs:
    """Read pairs.txt and find its images in a folder that holds a folder per person.

    The pairs are for a protocol of `num_folds` contiguous folds. With `missing` "strict" a missing image is an error,
    with "skip" its pair is left out. Raises ZooError if the file is invalid, images are missing, or there are too few
    pairs for the folds.
    """
    lines, notices = _lines(pairs_path)
    paths, is_same, absent = [], [], []
    for number, words in lines:
        stems = _stems(words)
        if stems is None:
            raise ZooError(f"{pairs_path}: line {number} is {' '.join(words)!r}, expected `name a b` or `name a other "
                           "b`")
        pair = [_find(os.path.join(folder, stem)) for stem in stems]
        absent += [stem for stem, path in zip(stems, pair) if path is None]
        if None not in pair:
            paths += pair
            is_same.append(len(words) == 3)
    if absent and missing == "strict":
        raise ZooError(f"{folder}: {len(absent)} images of {pairs_path} are missing, the first is {absent[0]}.jpg; "
                       "--lfw_missing=skip leaves their pairs out")
    if absent:
        notices.append(f"Notice: LFW: {len(absent)} missing images, {len(is_same)} pairs are left")
    return in_balanced_folds(paths, np.array(is_same, bool), num_folds, pairs_path, notices)


def _lines(path: str) -> tuple[list[tuple[int, list[str]]], list[str]]:
    """Return the lines of pairs with their numbers, divided into words, and notices about their count."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ZooError(f"{path}: cannot be read ({error})") from None
    lines = [(number, _words(line.strip())) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines or len(lines[0][1]) > 2 or not all(word.isdigit() for word in lines[0][1]):
        return lines, [f"Notice: {path}: the first line is a pair, expected folds and pairs; it is read as a pair"
                       ] if lines else []
    announced = 2
    for word in lines[0][1]:
        announced *= int(word)
    count = len(lines) - 1
    return lines[1:], [f"Notice: {path}: announces {announced} pairs and holds {count}"] if count != announced else []


def _words(line: str) -> list[str]:
    """Divide a line into words; a name with blanks is one if its line has tabs, or can be read in one way only."""
    if "\t" in line:
        return [word.strip() for word in line.split("\t")]
    words = line.split()
    match = None if _stems(words) else _SAME.fullmatch(line) or _DIFFERENT.fullmatch(line)
    return list(match.groups()) if match else words


def _stems(words: Sequence[str]) -> list[str] | None:
    """Return the paths of a line's two images without suffix; None for an invalid line."""
    numbers = words[1:3] if len(words) == 3 else words[1::2]
    if len(words) not in (3, 4) or not all(number.strip().isdigit() for number in numbers):
        return None
    names = (words[0], words[0] if len(words) == 3 else words[2])
    if any(not name or os.sep in name or name in (".", "..") for name in names):
        return None
    return [os.path.join(name, f"{name}_{int(number):04d}") for name, number in zip(names, numbers)]


def _find(stem: str) -> str | None:
    return next((stem + suffix for suffix in SUFFIXES if os.path.exists(stem + suffix)), None)


def in_balanced_folds(paths: list, is_same: np.ndarray, num_folds: int, name: str, notices: list) -> Pairs:
    """Keep the order if every contiguous fold has same and different pairs; else distribute both kinds evenly."""
    if min(int(is_same.sum()), int((~is_same).sum())) < num_folds:
        raise ZooError(f"{name}: {int(is_same.sum())} same and {int((~is_same).sum())} different pairs, too few for "
                       f"--lfw_nrof_folds={num_folds}")
    try:
        verification.fold_slices(is_same, num_folds)
        return Pairs(paths, is_same, notices)
    except ValueError as error:
        notices = [*notices, f"Notice: LFW: {error} in the file's order; the pairs are distributed evenly"]
    kinds = np.flatnonzero(is_same), np.flatnonzero(~is_same)
    relative_positions = np.concatenate([np.arange(len(kind)) / len(kind) for kind in kinds])
    order = np.concatenate(kinds)[np.argsort(relative_positions, kind="stable")]
    pairs = np.array(paths, object).reshape(-1, 2)[order]
    try:
        verification.fold_slices(is_same[order], num_folds)
    except ValueError as error:
        raise ZooError(f"{name}: {error}, even if the pairs are distributed evenly; choose a smaller --lfw_nrof_folds"
                       ) from None
    return Pairs(pairs.reshape(-1).tolist(), is_same[order], notices)


def summary(verified: verification.Verification) -> dict[str, float]:
    """Return the numbers of a verification under their names in metrics.jsonl."""
    return dict(lfw_accuracy=float(verified.accuracies.mean()), lfw_accuracy_std=float(verified.accuracies.std()),
                lfw_val_rate=float(verified.val_rates.mean()), lfw_val_std=float(verified.val_rates.std()),
                lfw_far=float(verified.val_fars.mean()), lfw_equal_error_rate=verified.equal_error_rate,
                lfw_threshold=float(verified.accuracy_thresholds.mean()),
                lfw_val_threshold=float(verified.val_thresholds.mean()))


def to_csv(pairs: Pairs, distances: np.ndarray) -> str:
    """Return the pairs and their distances as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("first", "second", "same", "distance"))
    for pair, distance in enumerate(distances):
        writer.writerow((*pairs.paths[2 * pair:2 * pair + 2], int(pairs.is_same[pair]), repr(float(distance))))
    return text.getvalue()


def from_csv(path: str) -> tuple[list, np.ndarray, np.ndarray]:
    """Read a file of `to_csv`: images [2 * pairs], whether pairs are the same, bool [pairs], distances [pairs].

    Raises OSError or ValueError if it cannot be read or is invalid.
    """
    with open(path, encoding="utf-8", newline="") as file:
        rows = [(row["first"], row["second"], int(row["same"]), float(row["distance"])) for row in csv.DictReader(file)]
    if not rows:
        raise ValueError(f"{path} is empty")
    return ([image for row in rows for image in row[:2]], np.array([row[2] for row in rows], bool),
            np.array([row[3] for row in rows]))
