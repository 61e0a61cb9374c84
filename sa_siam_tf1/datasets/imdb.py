"""The crops to train on: of a curated tree, of its index files, or of the raw tree of ILSVRC2015 VID.

`python3 -m sa_siam_tf1.datasets.imdb FOLDER` checks a folder.
"""
from __future__ import annotations

import io
import os
import re
import reprlib
import sys
import zlib
from typing import Any, Iterable, NamedTuple

import numpy as np
from PIL import Image

from common.cli import program, shared_flags
from common.data import images, listing, plain_pickle
from common.errors import ZooError
from sa_siam_tf1.configuration import CURATED_SIDE, read_json
from sa_siam_tf1.datasets import curation

FOLDER_NAMES = ("ILSVRC2015-VID-Curation", "ILSVRC2015")
VALIDATION_SHARE = 0.1
IMDB_FILES = ("train_imdb.json", "validation_imdb.json")
PICKLES = ("train_imdb.pickle", "validation_imdb.pickle")
CURATED = ("Data", "VID", "train")
LETTERS = sorted(curation.PARTS.values())
IMAGE_SHAPE = [CURATED_SIDE, CURATED_SIDE, 3]
_CROP_NAME = re.compile(r"(.+)\.(\d+)\.crop\.x\.jpg")


class Crop(NamedTuple):
    """A crop: a curated file, or a frame and a box in it, which counts stored pixels."""

    path: str  # of the file
    box: curation.Box | None = None  # in a frame
    upright: bool = False  # apply the EXIF orientation

    def read(self) -> np.ndarray:
        """Return uint8 [255, 255, 3], RGB; a frame gives the same pixels as the curated file made from it.

        Raises:
            ZooError: the file is missing, damaged or of another size.
        """
        image = images.read_rgb(self.path, self.upright)
        if self.box is not None:
            curated = curation.to_jpeg(curation.crop_box(image, self.box, self.path))
            return np.asarray(Image.open(io.BytesIO(curated)))
        if list(image.shape) != IMAGE_SHAPE:
            raise ZooError(f"{self.path}: {image.shape[1]} x {image.shape[0]} pixels, expected {CURATED_SIDE} x "
                           f"{CURATED_SIDE}; make the crops with scripts/preprocess_VID_data.py")
        return image


class Tracks(NamedTuple):
    """The data set: tracks, each a list of crops in the order of their frames."""

    train: list
    validation: list
    fingerprint: list  # number of crops, checksum of the names and sizes of files and of the boxes in raw frames
    notices: list  # lines to print


def has_data(folder: str) -> bool:
    """Whether a folder is a curated tree, an index of one, or a raw tree."""
    return os.path.isdir(os.path.join(folder, "Annotations", "VID")) or _is_curated(folder)


def _is_curated(folder: str) -> bool:
    data = os.path.join(folder, *CURATED)
    return any(_find_index(folder, name) for name in (*IMDB_FILES, *PICKLES)) or any(
        os.path.isdir(os.path.join(data, letter)) for letter in LETTERS)


def load(folder: str, upright: bool = False) -> Tracks:
    """Load a folder of any of these kinds; `upright` applies the EXIF orientation of curated crops.

    Raises:
        ZooError: nothing to train on, or an invalid file.
    """
    notices: list = []
    advice = "boxes count stored pixels"
    if _is_curated(folder):
        advice = "" if upright else "--exif_orientation turns them"
        parts = _from_index(folder, notices) or split(curated_videos(folder), notices)
        parts = [[[Crop(os.path.join(folder, *name.split("/")), None, upright) for name in track] for track in part]
                 for part in parts]
    else:
        parts = split(_raw_videos(folder), notices)
        notices.append("Notice: raw frames are cropped whenever they are read; for many epochs make the crops once, "
                       "with scripts/preprocess_VID_data.py.")
    train, validation = parts
    if not train:
        raise ZooError(f"{folder}: no track to train on")
    if not validation:
        notices.append("Notice: no track is left for validation.")
    crops = [crop for part in parts for track in part for crop in track]
    fingerprint = _fingerprint(folder, crops)
    if advice:
        notices += images.orientation_notices(lambda number: crops[number].path, len(crops), advice)
    return Tracks(train, validation, fingerprint, notices)


def curated_videos(folder: str, letters: Iterable[str] = LETTERS) -> list:
    """List a curated tree: videos in the order of letters and names, in each its tracks by number, in each its crops.

    Crops are paths relative to the tree, with `/`. `letters` are the parts to list.
    """
    videos = []
    data = os.path.join(folder, *CURATED)
    for letter in letters:
        for name in listing.folders(os.path.join(data, letter)):
            matches = map(_CROP_NAME.fullmatch, listing.files(os.path.join(data, letter, name), (".jpg",)))
            videos.append(_by_track((int(match.group(2)), "/".join((*CURATED, letter, name, match.string)))
                                    for match in matches if match))
    return videos


def _by_track(crops: Iterable[tuple[int, Any]]) -> list:
    """Return the tracks of a video, from its crops, each with the number of its track."""
    tracks: dict = {}
    for number, crop in crops:
        tracks.setdefault(number, []).append(crop)
    return [tracks[number] for number in sorted(tracks)]


def read_index(path: str) -> list:
    """Read an index, .json or an old .pickle, as a list of tracks of relative paths; raise ZooError for any other."""
    content = plain_pickle.read_plain(path) if path.endswith(".pickle") else read_json(path)
    videos = content.get("videos") if isinstance(content, dict) else None
    if not isinstance(videos, list) or not all(isinstance(track, list) and track and all(
            isinstance(name, str) for name in track) for track in videos):
        raise ZooError(f"{path}: expected an object with videos, a list of tracks, each a list of paths")
    shape = content.get("image_shape")
    if not isinstance(shape, (list, tuple)) or list(shape) != IMAGE_SHAPE:
        raise ZooError(f"{path}: image_shape {reprlib.repr(shape)}, expected {IMAGE_SHAPE}")
    return [[_relative(path, name) for name in track] for track in videos]


def _relative(path: str, name: str) -> str:
    """Make an absolute path of an old index relative to the tree; refuse a path that leads out of it."""
    name = name.replace("\\", "/")
    marker = "/".join(CURATED) + "/"
    if name.startswith("/") and f"/{marker}" in name:
        name = marker + name.rpartition(f"/{marker}")[2]
    if name.startswith("/") or ".." in name.split("/"):
        raise ZooError(f"{path}: names {name!r}, expected a path below {marker}")
    return name


def _find_index(folder: str, name: str) -> str | None:
    candidates = (os.path.join(folder, name), os.path.join(folder, *CURATED, name))
    return next((path for path in candidates if os.path.isfile(path)), None)


def _from_index(folder: str, notices: list) -> list | None:
    for names in (IMDB_FILES, PICKLES):
        paths = [_find_index(folder, name) for name in names]
        if paths[0] and paths[1]:
            notices.append(f"Index: {paths[0]} and {os.path.basename(paths[1])}")
            return [read_index(path) for path in paths if path]
        if any(paths):
            raise ZooError(f"{folder}: has {os.path.basename(next(filter(None, paths)))} alone, expected "
                           f"{' and '.join(names)}; make both with scripts/build_VID2015_imdb.py")
    return None


def split(videos: list, notices: list) -> list:
    """Validate with the first tenth of the videos, as in the original; of fewer than ten, with the first one."""
    videos = [video for video in videos if video]
    count = int(len(videos) * VALIDATION_SHARE)
    if count == 0 and len(videos) > 1:
        count = 1
        notices.append(f"Notice: only {len(videos)} videos: the first one is used for validation.")
    return [[track for video in part for track in video] for part in (videos[count:], videos[:count])]


def _raw_videos(folder: str) -> list:
    return [_by_track((box.track, Crop(frame, box)) for annotation, frame in video.frames
                      for box in curation.read_annotation(annotation)) for video in curation.raw_videos(folder)]


def _fingerprint(folder: str, crops: Iterable[Crop]) -> list[Any]:
    checksum, count, sizes = 0, 0, {}
    for path, box, _ in crops:
        if path not in sizes:
            try:
                sizes[path] = os.path.getsize(path)
            except OSError as error:
                raise ZooError(f"{path}: {error.strerror}; the index or an annotation names it") from None
            except ValueError as error:  # not a valid file name
                raise ZooError(f"{path!r}: {error}; the index names it") from None
        count += 1
        line = f"{os.path.relpath(path, folder)} {sizes[path]}{'' if box is None else f' {tuple(box)}'}\n"
        checksum = zlib.crc32(line.encode("utf-8", "surrogateescape"), checksum)
    return [count, checksum]


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Check a folder: print what is in it, and read a crop of each track; return the exit status."""
    (folder,) = program.positionals(arguments, "python3 -m sa_siam_tf1.datasets.imdb FOLDER")
    data = load(shared_flags.find_data_folder(folder, os.getcwd(), FOLDER_NAMES, has_data))
    for line in data.notices:
        print(line)
    for name, tracks in (("train", data.train), ("validation", data.validation)):
        for track in tracks:
            track[0].read()
        print(f"{name}: {len(tracks)} tracks, {sum(map(len, tracks))} crops")
    return 0


if __name__ == "__main__":
    sys.exit(main())
