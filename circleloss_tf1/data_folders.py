"""The data that the flags ask for: its folders, the training images and the pairs of LFW."""
from __future__ import annotations

import os
import zlib

from circleloss_tf1 import faces as face_data
from circleloss_tf1 import lfw, record_faces
from circleloss_tf1.faces import Faces, Split
from common.cli import shared_flags
from common.cli.parser import FlagSet, FlagValues
from common.data import listing
from common.errors import FlagError, ZooError
from common.evaluation import verification

ROOT = os.path.dirname(os.path.abspath(__file__))


def define_lfw(flags: FlagSet) -> None:
    """Define the flags of the verification on LFW; evaluate has them too."""
    flags.data.string("lfw_dir", None, "LFW folder, with a folder per person; wins over --data_path.",
                      "found in --data_path")
    flags.data.string("lfw_pairs", None, "LFW's pairs.txt; for evaluate.py also a verification set of "
                      "insightface, such as cfp_fp.bin.", "found beside the LFW folder, in it or in data/")
    flags.evaluation.integer("lfw_batch_size", 30, "LFW images per batch.", 1, shared_flags.MAX_BATCH_SIZE)
    flags.evaluation.integer("lfw_nrof_folds", 10, "Folds of the cross-validation.", 2)
    flags.evaluation.choice("lfw_distance_metric", "0", [str(metric) for metric in verification.METRICS],
                            "Distance of embeddings: 0 is squared Euclidean, 1 is the angle.")
    flags.evaluation.boolean("lfw_subtract_mean", False, "Subtract the mean embedding of the training folds.")
    flags.evaluation.boolean("lfw_use_flipped_images", False, "Average the embeddings of an image and of its "
                             "mirror image.")
    flags.evaluation.choice("lfw_missing", "strict", ["strict", "skip"], "A missing image is an error, or its pair is "
                            "left out.")


def find_faces(flags: FlagValues) -> str:
    """Find the folder of the training images; ZooError if there is none."""
    if flags.data_dir:
        return shared_flags.find_data_folder(flags.data_dir, ROOT, (), _has_data, "data_dir")
    parent = shared_flags.find_path("data_path", flags.data_path, ROOT)
    names = [name for name in listing.folders(parent) if record_faces.has_records(os.path.join(parent, name))]
    return shared_flags.find_data_folder(flags.data_path, ROOT, (*face_data.FOLDER_NAMES, *names), _has_data)


def _has_data(folder: str) -> bool:
    return record_faces.has_records(folder) or face_data.has_faces(folder)


def find_lfw(flags: FlagValues) -> str | None:
    """Find LFW: --lfw_dir, else below --data_path; None if it is in neither.

    Raises ZooError if --lfw_dir or --data_path does not exist, or --lfw_dir has no folder per person.
    """
    if flags.lfw_dir:
        return shared_flags.find_data_folder(flags.lfw_dir, ROOT, (), face_data.has_faces, "lfw_dir")
    if not flags.data_path:
        return None
    parent = shared_flags.find_path("data_path", flags.data_path, ROOT)
    candidates = [os.path.join(parent, *name.split("/")) for name in lfw.FOLDER_NAMES]
    return next((folder for folder in candidates if os.path.isdir(folder) and face_data.has_faces(folder)), None)


def require_lfw(flags: FlagValues) -> str:
    """Find LFW for a program that needs it; ZooError if it is missing."""
    folder = find_lfw(flags)
    if folder is None:
        shared_flags.find_path("data_path", flags.data_path, ROOT)
        raise ZooError(f"--data_path={flags.data_path}: holds no lfw-deepfunneled_align; give --lfw_dir=FOLDER")
    return folder


def load_faces(flags: FlagValues, folder: str) -> tuple[Faces, Split]:
    """List, filter and split the training images."""
    if record_faces.has_records(folder):
        for name, reason in (("face_index", "whose index train.idx is"),
                             ("filter_filename", "which have no names to filter by")):
            if flags[name].value:
                raise FlagError(f"--{name}: {folder} holds records, {reason}")
        faces: Faces = record_faces.scan(folder)
    elif flags.face_index:
        faces = face_data.scan_with_index(folder, os.path.abspath(os.path.expanduser(flags.face_index)))
    else:
        faces = face_data.scan(folder)
    if flags.filter_filename:
        path = shared_flags.find_path("filter_filename", flags.filter_filename, folder)
        faces = face_data.filter_by_distance(faces, path, flags.filter_percentile,
                                             flags.filter_min_nrof_images_per_class)
    split = face_data.split(faces, flags.validation_set_split_ratio, flags.min_nrof_val_images_per_class, flags.seed)
    if flags.validation_set_split_ratio and not len(split.validation):
        raise FlagError(f"--validation_set_split_ratio={flags.validation_set_split_ratio}: no person has enough images "
                        "for a validation split")
    return faces, split


def load_pairs(flags: FlagValues, folder: str | None) -> tuple[lfw.Pairs | None, list[str]]:
    """Read LFW's pairs, None without LFW or in a speed run, and lines about them.

    Raises ZooError if LFW lacks pairs.txt, or the file or its images are invalid.
    """
    if flags.performance:
        return None, []
    if folder is None:
        return None, ["Warning: no lfw-deepfunneled_align in the data and no --lfw_dir: the run is not verified on LFW"]
    pairs = read_pairs(flags, folder)
    return pairs, [*pairs.notices, f"LFW: {folder}, {len(pairs.is_same)} pairs, {int(pairs.is_same.sum())} of "
                   "them same"]


def read_pairs(flags: FlagValues, folder: str) -> lfw.Pairs:
    """Read the pairs of --lfw_pairs, or of one of the usual files."""
    if flags.lfw_pairs:
        path = shared_flags.find_path("lfw_pairs", flags.lfw_pairs, ROOT)
    else:
        folders = [os.path.dirname(folder), folder]
        if flags.data_path:
            data_path = shared_flags.find_path("data_path", flags.data_path, ROOT)
            folders += [data_path, os.path.join(data_path, "dataset")]
        candidates = [os.path.join(parent, lfw.PAIRS_FILE) for parent in (*folders, os.path.join(ROOT, "data"))]
        path = next(filter(os.path.isfile, candidates), "")
        if not path:
            raise ZooError(f"{lfw.PAIRS_FILE} is missing: looked for {', '.join(dict.fromkeys(candidates))}; give "
                           "--lfw_pairs=FILE")
    return lfw.read_pairs(path, folder, flags.lfw_nrof_folds, flags.lfw_missing)


def fingerprint(pairs: lfw.Pairs | None) -> list | None:
    """Return the number of pairs and a checksum of their images' names."""
    if pairs is None:
        return None
    names = ["/".join(path.split(os.sep)[-2:]) for path in pairs.paths]
    return [len(pairs.is_same), zlib.crc32("\n".join(names).encode("utf-8", "surrogateescape"))]
