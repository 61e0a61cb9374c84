"""Labelled Faces in the Wild: its flags, the pairs to verify, and the protocol, as in facenet.

pairs.txt: a first line `folds<TAB>pairs`, then for each fold that many lines `name a b` (images a and b of one person)
and that many `name a other b` (images of two people), separated by tabs or blanks; the first line may be missing. An
image is <folder>/<name>/<name>_<number with 4 digits>.jpg, else .jpeg, else .png.

A pair is accepted as "same" if its distance is strictly below a threshold. Rows 2i and 2i + 1 of the embeddings are
pair i. Folds are contiguous and not shuffled; their sizes differ by at most one, larger folds first.
"""
from __future__ import annotations

import os
import re
import zlib
from typing import NamedTuple, Sequence

import numpy as np

from circleloss_tf1.faces import ROOT, SUFFIXES, has_faces
from common.cli import shared_flags
from common.cli.parser import FlagSet, FlagValues
from common.errors import ZooError
from common.evaluation import roc
from common.evaluation.roc import SortedPairs

FOLDER_NAMES = ("lfw-deepfunneled_align", "dataset/lfw-deepfunneled_align")
PAIRS_FILE = "pairs.txt"
SQUARED_EUCLIDEAN, ANGLE = METRICS = (0, 1)
THRESHOLDS = np.arange(0, 4, 0.01)  # of the accuracy and of the ROC
FINE_THRESHOLDS = np.arange(0, 4, 0.001)  # of VAL@FAR
FAR_TARGET = 1e-3
_ROWS_PER_CHUNK = 128  # whose differences fit into the cache
_SAME = re.compile(r"(\D+?)\s+(\d+)\s+(\d+)")
_DIFFERENT = re.compile(r"(\D+?)\s+(\d+)\s+(\D+?)\s+(\d+)")


class Pairs(NamedTuple):
    """Pairs to verify."""

    paths: list  # str [2 * pairs], the two images of each pair
    is_same: np.ndarray  # bool [pairs]
    notices: list  # lines about missing images or another order


def define_flags(flags: FlagSet) -> None:
    """Define the flags of the verification on LFW; evaluate has them too."""
    flags.data.string("lfw_dir", None, "LFW folder, with a folder per person; wins over --data_path.",
                      "found in --data_path")
    flags.data.string("lfw_pairs", None, "LFW's pairs.txt; for evaluate.py also a verification set of "
                      "insightface, such as cfp_fp.bin.", "found beside the LFW folder, in it or in data/")
    flags.evaluation.integer("lfw_batch_size", 30, "LFW images per batch.", 1, shared_flags.MAX_BATCH_SIZE)
    flags.evaluation.integer("lfw_nrof_folds", 10, "Folds of the cross-validation.", 2)
    flags.evaluation.choice("lfw_distance_metric", "0", [str(metric) for metric in METRICS],
                            "Distance of embeddings: 0 is squared Euclidean, 1 is the angle.")
    flags.evaluation.boolean("lfw_subtract_mean", False, "Subtract the mean embedding of the training folds.")
    flags.evaluation.boolean("lfw_use_flipped_images", False, "Average the embeddings of an image and of its "
                             "mirror image.")
    flags.evaluation.choice("lfw_missing", "strict", ["strict", "skip"], "A missing image is an error, or its pair is "
                            "left out.")


def find_folder(flags: FlagValues) -> str | None:
    """Find LFW: --lfw_dir, else below --data_path; None if it is in neither.

    Raises ZooError if --lfw_dir or --data_path does not exist, or --lfw_dir has no folder per person.
    """
    if flags.lfw_dir:
        return shared_flags.find_data_folder(flags.lfw_dir, ROOT, (), has_faces, "lfw_dir")
    if not flags.data_path:
        return None
    parent = shared_flags.find_path("data_path", flags.data_path, ROOT)
    candidates = [os.path.join(parent, *name.split("/")) for name in FOLDER_NAMES]
    return next((folder for folder in candidates if os.path.isdir(folder) and has_faces(folder)), None)


def load_pairs(flags: FlagValues, folder: str | None) -> tuple[Pairs | None, list[str]]:
    """Read LFW's pairs, None without LFW or in a speed run, and lines about them.

    Raises ZooError if LFW lacks pairs.txt, or the file or its images are invalid.
    """
    if flags.performance:
        return None, []
    if folder is None:
        return None, ["Warning: no lfw-deepfunneled_align in the data and no --lfw_dir: the run is not verified on LFW"]
    pairs = find_pairs(flags, folder)
    return pairs, [*pairs.notices, f"LFW: {folder}, {len(pairs.is_same)} pairs, {int(pairs.is_same.sum())} of "
                   "them same"]


def find_pairs(flags: FlagValues, folder: str) -> Pairs:
    """Read the pairs of --lfw_pairs, or of one of the usual files."""
    if flags.lfw_pairs:
        path = shared_flags.find_path("lfw_pairs", flags.lfw_pairs, ROOT)
    else:
        folders = [os.path.dirname(folder), folder]
        if flags.data_path:
            data_path = shared_flags.find_path("data_path", flags.data_path, ROOT)
            folders += [data_path, os.path.join(data_path, "dataset")]
        candidates = [os.path.join(parent, PAIRS_FILE) for parent in (*folders, os.path.join(ROOT, "data"))]
        path = next(filter(os.path.isfile, candidates), "")
        if not path:
            raise ZooError(f"{PAIRS_FILE} is missing: looked for {', '.join(dict.fromkeys(candidates))}; give "
                           "--lfw_pairs=FILE")
    return read_pairs(path, folder, flags.lfw_nrof_folds, flags.lfw_missing)


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
        fold_slices(is_same, num_folds)
        return Pairs(paths, is_same, notices)
    except ValueError as error:
        notices = [*notices, f"Notice: LFW: {error} in the file's order; the pairs are distributed evenly"]
    kinds = np.flatnonzero(is_same), np.flatnonzero(~is_same)
    relative_positions = np.concatenate([np.arange(len(kind)) / len(kind) for kind in kinds])
    order = np.concatenate(kinds)[np.argsort(relative_positions, kind="stable")]
    pairs = np.array(paths, object).reshape(-1, 2)[order]
    try:
        fold_slices(is_same[order], num_folds)
    except ValueError as error:
        raise ZooError(f"{name}: {error}, even if the pairs are distributed evenly; choose a smaller --lfw_nrof_folds"
                       ) from None
    return Pairs(pairs.reshape(-1).tolist(), is_same[order], notices)


def fingerprint(pairs: Pairs | None) -> list | None:
    """Return the number of pairs and a checksum of their images' names."""
    if pairs is None:
        return None
    names = ["/".join(path.split(os.sep)[-2:]) for path in pairs.paths]
    return [len(pairs.is_same), zlib.crc32("\n".join(names).encode("utf-8", "surrogateescape"))]


class Verification(NamedTuple):
    """Results of the protocol; rates are between 0 and 1."""

    true_positive_rates: np.ndarray  # float64 [thresholds] of the ROC, mean over the folds' test pairs
    false_positive_rates: np.ndarray  # float64 [thresholds]
    accuracies: np.ndarray  # float64 [folds], with the best threshold of the other folds
    accuracy_thresholds: np.ndarray  # float64 [folds]
    val_rates: np.ndarray  # float64 [folds], same pairs accepted at the threshold for `far_target` on the other folds
    val_fars: np.ndarray  # float64 [folds], different pairs accepted
    val_thresholds: np.ndarray  # float64 [folds]
    equal_error_rate: float  # over all pairs, with one threshold
    distances: np.ndarray  # float64 [pairs], without mean subtraction


def verify(embeddings: np.ndarray, is_same: np.ndarray, num_folds: int = 10, metric: int = SQUARED_EUCLIDEAN,
           subtract_mean: bool = False) -> Verification:
    """Run the protocol on embeddings, float [2 * pairs, dim], of which bool [pairs] are the same, with 2 folds or more.

    The metric is SQUARED_EUCLIDEAN, or ANGLE (arccos of the cosine, divided by pi). `subtract_mean` first subtracts the
    mean embedding of the training folds; the rows are not normalised again. Raises ValueError if the shapes do not
    match, or a fold lacks same or different pairs.
    """
    is_same = np.asarray(is_same, bool)
    if embeddings.ndim != 2 or len(embeddings) != 2 * len(is_same):
        raise ValueError(f"expected embeddings [2 * pairs, dim] for {len(is_same)} pairs, got {embeddings.shape}")
    first, second = embeddings[0::2], embeddings[1::2]
    distances = row_distances(first, second, metric)
    curves, accuracies, vals = [], [], []
    for fold in fold_slices(is_same, num_folds):
        fold_distances = distances
        if subtract_mean and metric == ANGLE:  # Euclidean distances ignore the mean
            mean = (np.delete(first, fold, 0).mean(0, np.float64) + np.delete(second, fold, 0).mean(0, np.float64)) / 2
            fold_distances = row_distances(first - mean, second - mean, ANGLE)
        test = SortedPairs.of(fold_distances[fold], is_same[fold])
        train = SortedPairs.of(np.delete(fold_distances, fold), np.delete(is_same, fold))
        curves.append(test.rates(THRESHOLDS))
        best = int(np.argmax(train.accuracy(THRESHOLDS)))
        accuracies.append((float(test.accuracy(THRESHOLDS)[best]), THRESHOLDS[best]))
        threshold = threshold_at_far(train, FAR_TARGET)
        vals.append((*test.rates(np.array([threshold])).ravel(), threshold))
    return Verification(*np.mean(curves, axis=0), *np.transpose(accuracies), *np.transpose(vals),
                        roc.equal_error_rate(roc.roc(distances, is_same)), distances)


def row_distances(first: np.ndarray, second: np.ndarray, metric: int = SQUARED_EUCLIDEAN) -> np.ndarray:
    """Return the distance of each row to the same row of another array, float64 [rows], both float [rows, dim].

    A row of zeros is orthogonal to all. Raises ValueError for an unknown metric.
    """
    if metric not in METRICS:
        raise ValueError(f"metric {metric}: expected {SQUARED_EUCLIDEAN} (squared Euclidean) or {ANGLE} (angle)")
    distances = np.empty(len(first))
    for begin in range(0, len(first), _ROWS_PER_CHUNK):
        rows = slice(begin, begin + _ROWS_PER_CHUNK)
        if metric == SQUARED_EUCLIDEAN:
            difference = np.subtract(first[rows], second[rows], dtype=np.float64)
            distances[rows] = _products(difference, difference)
        else:
            one, other = first[rows].astype(np.float64), second[rows].astype(np.float64)
            lengths = np.sqrt(_products(one, one) * _products(other, other))
            cosines = np.divide(_products(one, other), lengths, out=np.zeros(len(one)), where=lengths > 0.0)
            distances[rows] = np.arccos(np.clip(cosines, -1.0, 1.0)) / np.pi  # rounding may exceed cosine 1
    return distances


def _products(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", first, second)


def fold_slices(is_same: np.ndarray, num_folds: int) -> list[slice]:
    """Divide pairs into contiguous test folds; ValueError if one has no same or no different pair."""
    if not 2 <= num_folds <= len(is_same):
        raise ValueError(f"{num_folds} folds of {len(is_same)} pairs; expected 2 to {len(is_same)}")
    bounds = np.cumsum([0, *map(len, np.array_split(is_same, num_folds))]).tolist()
    folds = [slice(begin, end) for begin, end in zip(bounds, bounds[1:])]
    for fold_number, fold in enumerate(folds, 1):
        if is_same[fold].all() or not is_same[fold].any():
            kind = "same" if is_same[fold].all() else "different"
            raise ValueError(f"fold {fold_number} of {num_folds} has only {kind} pairs")
    return folds


def threshold_at_far(pairs: SortedPairs, far_target: float) -> float:
    """Return the threshold that accepts a fraction `far_target` of the different pairs; 0 if too many are at 0.

    It is interpolated after the last of FINE_THRESHOLDS whose FAR does not exceed the target.
    """
    fars = pairs.rates(FINE_THRESHOLDS)[1]
    if fars.max() < far_target:
        return 0.0
    last = int(np.searchsorted(fars, far_target, side="right")) - 1
    if last < 0:
        return 0.0
    if last + 1 == len(fars):
        return float(FINE_THRESHOLDS[last])
    step = (far_target - fars[last]) / (fars[last + 1] - fars[last])
    return float(FINE_THRESHOLDS[last] + step * (FINE_THRESHOLDS[last + 1] - FINE_THRESHOLDS[last]))


def summary(verified: Verification) -> dict[str, float]:
    """Return the numbers of a verification under their names in metrics.jsonl."""
    return dict(lfw_accuracy=float(verified.accuracies.mean()), lfw_accuracy_std=float(verified.accuracies.std()),
                lfw_val_rate=float(verified.val_rates.mean()), lfw_val_std=float(verified.val_rates.std()),
                lfw_far=float(verified.val_fars.mean()), lfw_equal_error_rate=verified.equal_error_rate,
                lfw_threshold=float(verified.accuracy_thresholds.mean()),
                lfw_val_threshold=float(verified.val_thresholds.mean()))
