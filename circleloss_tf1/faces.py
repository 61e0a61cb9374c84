"""Training data: a folder of images per person, or a set of insightface, and which images an epoch draws.

    MS-Celeb-1M_clean_align/<person>/<any name>.jpg|.jpeg|.png

The person is the class; classes and files are sorted by name. Files are not opened before they are decoded.
"""
from __future__ import annotations

import dataclasses
import os
import sys
import zipfile
import zlib
from typing import Callable, NamedTuple

import numpy as np

from circleloss_tf1 import record_faces
from common import atomic_files, console
from common.cli import program, shared_flags
from common.cli.parser import FlagValues
from common.data import listing
from common.devices.selection import ALONE, Rank
from common.errors import FlagError, ZooError

ROOT = os.path.dirname(os.path.abspath(__file__))
FOLDER_NAMES = ("MS-Celeb-1M_clean_align", "dataset/MS-Celeb-1M_clean_align")
SUFFIXES = (".jpg", ".jpeg", ".png")
_INDEX_VERSION = 2


@dataclasses.dataclass(eq=False)
class Faces:
    """A list of images with their people; a million files take about 30 MB, a million records 12 MB."""

    folder: str
    people: list[bytes]  # names of the classes
    labels: np.ndarray  # int32 [images], the class of each image
    names: np.ndarray  # bytes [images], of the files; or int64 [images], the offsets of the records
    crc: int  # checksum of all names and sizes
    notices: list[str]  # lines about ignored files
    read: Callable[[bytes], bytes] | None = None  # the content of a path; None if paths are those of files

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def fingerprint(self) -> list[int]:
        """Number of images and people, and the checksum."""
        return [len(self.labels), len(self.people), self.crc]

    def path(self, index: int) -> bytes:
        """Return the path of an image, as bytes of the file system."""
        folder, name = os.fsencode(self.folder), self.names[index]
        if self.read:
            return os.path.join(folder, b"%s@%d" % (record_faces.RECORDS.encode(), name))
        return os.path.join(folder, self.people[self.labels[index]], bytes(name))


def has_faces(folder: str) -> bool:
    """Return whether a sub-folder holds an image."""
    return any(listing.files(os.path.join(folder, name), SUFFIXES) for name in listing.folders(folder))


def _has_data(folder: str) -> bool:
    return record_faces.has_records(folder) or has_faces(folder)


def find_folder(flags: FlagValues) -> str:
    """Find the folder of the training images; ZooError if there is none."""
    if flags.data_dir:
        return shared_flags.find_data_folder(flags.data_dir, ROOT, (), _has_data, "data_dir")
    parent = shared_flags.find_path("data_path", flags.data_path, ROOT)
    names = [name for name in listing.folders(parent) if record_faces.has_records(os.path.join(parent, name))]
    return shared_flags.find_data_folder(flags.data_path, ROOT, (*FOLDER_NAMES, *names), _has_data)


def load(flags: FlagValues, folder: str) -> tuple[Faces, Split]:
    """List, filter and split the training images."""
    if record_faces.has_records(folder):
        for name, reason in (("face_index", "whose index train.idx is"),
                             ("filter_filename", "which have no names to filter by")):
            if flags[name].value:
                raise FlagError(f"--{name}: {folder} holds records, {reason}")
    if flags.face_index:
        faces = scan_with_index(folder, os.path.abspath(os.path.expanduser(flags.face_index)))
    else:
        faces = scan(folder)
    if flags.filter_filename:
        path = shared_flags.find_path("filter_filename", flags.filter_filename, folder)
        faces = filter_by_distance(faces, path, flags.filter_percentile, flags.filter_min_nrof_images_per_class)
    chosen = split(faces, flags.validation_set_split_ratio, flags.min_nrof_val_images_per_class, flags.seed)
    if flags.validation_set_split_ratio and not len(chosen.validation):
        raise FlagError(f"--validation_set_split_ratio={flags.validation_set_split_ratio}: no person has enough images "
                        "for a validation split")
    return faces, chosen


def scan(folder: str) -> Faces:
    """List the images, reading every folder once and opening no image; ZooError if fewer than two people have any."""
    if record_faces.has_records(folder):
        return _scan_records(folder)
    folders, images, num_strays = _list(os.fsencode(folder))
    people: list[bytes] = []
    counts, names, num_nested, sizes = [], [], 0, 0
    num_strays += len(images)
    for person in console.progress(folders, "listing images", "person"):
        nested, images, num_others = _list(os.path.join(os.fsencode(folder), person))
        num_strays, num_nested = num_strays + num_others, num_nested + len(nested)
        if images:
            sizes = zlib.crc32(repr((person, images)).encode(), sizes)
            people.append(person)
            counts.append(len(images))
            names.append(np.array([name for name, _ in images]))
    if len(people) < 2:
        raise ZooError(f"{folder}: images of {len(people)} people, expected at least 2 folders with .jpg, .jpeg or "
                       ".png files")
    ignored = ((num_strays, "files that are not images"), (num_nested, "folders within a person's folder"),
               (len(folders) - len(people), "people without an image"))
    notices = [f"Notice: {folder}: {count} {what} ignored" for count, what in ignored if count]
    labels = np.repeat(np.arange(len(people), dtype=np.int32), counts)
    return Faces(folder, people, labels, np.concatenate(names), sizes, notices)


def _scan_records(folder: str) -> Faces:
    labels, offsets, notices = record_faces.scan(folder)
    people = [b"%d" % person for person in range(int(labels[-1]) + 1)]
    size = os.path.getsize(os.path.join(folder, record_faces.RECORDS))
    return Faces(folder, people, labels, offsets, zlib.crc32(labels, zlib.crc32(offsets, size)), notices,
                 record_faces.read)


def _list(folder: bytes) -> tuple[list[bytes], list[tuple[bytes, int]], int]:
    """Return the folders in a folder, its images with their sizes, and the number of other files."""
    folders, images, num_others = [], [], 0
    with os.scandir(folder) as entries:
        for entry in entries:
            name = os.fsdecode(entry.name)
            if listing.is_left_behind(name):
                continue
            if entry.is_dir():
                folders.append(entry.name)
            elif name.lower().endswith(SUFFIXES):
                images.append((entry.name, _size(entry)))
            else:
                num_others += 1
    return sorted(folders), sorted(images), num_others


def _size(entry: os.DirEntry) -> int:
    try:
        return entry.stat().st_size
    except OSError:  # a broken link; decoding reports it
        return -1


def scan_with_index(folder: str, path: str) -> Faces:
    """List the images as `scan` does, or take the list from a file, which is written if it is missing or outdated.

    It is valid as long as the folder has the same sub-folders, and none of them was changed: a file that comes, goes or
    gets another name changes the time of its folder. A file that is written again in its place does not.
    """
    stamp = _stamp(folder)
    faces = _read_index(folder, path, stamp) if os.path.isfile(path) else None
    if faces is None:
        faces = scan(folder)
        atomic_files.write_bytes(path, atomic_files.npz(
            stamp=np.array(stamp), labels=faces.labels, names=faces.names, people=np.array(faces.people),
            crc=np.array(faces.crc), notices=np.array(list(map(os.fsencode, faces.notices)), bytes)))
    return faces


def _stamp(folder: str) -> list[int]:
    """Return the number of sub-folders and a checksum of their names and of the times when they were changed."""
    with os.scandir(os.fsencode(folder)) as entries:
        folders = sorted((entry.name, entry.stat().st_mtime_ns) for entry in entries if entry.is_dir())
    return [_INDEX_VERSION, len(folders), zlib.crc32(b"".join(b"%s/%d/" % folder for folder in folders))]


def _read_index(folder: str, path: str, stamp: list[int]) -> Faces | None:
    """Return the list of an index; None if it is that of another state of the folder, or damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if arrays["stamp"].tolist() == stamp:
                return Faces(folder, arrays["people"].tolist(), arrays["labels"], arrays["names"], int(arrays["crc"]),
                             list(map(os.fsdecode, arrays["notices"].tolist())))
        print(f"{path}: {folder} has changed, so its images are listed again", flush=True)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        print(f"Warning: {path}: is not an index of images, or damaged ({error}); it is written again", flush=True)
    return None


class Split(NamedTuple):
    """Indices of the training and of the validation images."""

    train: np.ndarray
    validation: np.ndarray


def split(faces: Faces, ratio: float, min_images: int, seed: int) -> Split:
    """Choose validation images at random: this share of every person's images, at least one and never all.

    A ratio of 0 chooses none. People who would keep fewer than `min_images` for training are not validated.
    """
    everything = np.arange(len(faces))
    if not ratio:
        return Split(everything, everything[:0])
    random = np.random.RandomState([seed, 1])
    is_validation = np.zeros(len(faces), bool)
    begins = np.searchsorted(faces.labels, np.arange(len(faces.people) + 1))
    for begin, end in zip(begins[:-1], begins[1:]):
        keep = min(int((end - begin) * (1.0 - ratio)), end - begin - 1)
        if keep >= max(min_images, 1):
            is_validation[begin + random.permutation(end - begin)[keep:]] = True
    return Split(everything[~is_validation], everything[is_validation])


def filter_by_distance(faces: Faces, path: str, percentile: float, min_images: int) -> Faces:
    """Drop images at or above a percentile of the distances, then people with fewer than `min_images`, at least one.

    The HDF5 file at `path` has `distance_to_center` [num], to the center of the class, and `image_list` [num], paths
    that end in person/name. Raises ZooError if the file is invalid, or fewer than two people remain.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            distances, listed = np.array(file["distance_to_center"], np.float64), list(file["image_list"])
    except (OSError, KeyError, ValueError) as error:
        raise ZooError(f"--filter_filename={path}: is not an HDF5 file with distance_to_center and image_list ({error})"
                       ) from None
    if len(listed) != len(distances):
        raise ZooError(f"{path}: {len(listed)} images and {len(distances)} distances, expected one distance for "
                       "each image")
    far = distances >= np.percentile(distances, percentile)
    dropped = {_person_and_name(os.fsencode(image)) for image, is_far in zip(listed, far) if is_far}
    kept = np.array([index for index in range(len(faces)) if _person_and_name(faces.path(index)) not in dropped], int)
    counts = np.bincount(faces.labels[kept], minlength=len(faces.people))
    kept = kept[counts[faces.labels[kept]] >= max(min_images, 1)]
    people, labels = np.unique(faces.labels[kept], return_inverse=True)
    if len(people) < 2:
        raise ZooError(f"{path}: leaves images of fewer than 2 people; use a larger --filter_percentile or a smaller "
                       "--filter_min_nrof_images_per_class")
    notice = (f"Filtered by {path}: {len(kept)} of {len(faces)} images of {len(people)} of {len(faces.people)} people "
              "are left")
    return Faces(faces.folder, [faces.people[person] for person in people], labels.astype(np.int32), faces.names[kept],
                 zlib.crc32(kept.astype(np.int64).tobytes(), faces.crc), [*faces.notices, notice])


def _person_and_name(path: bytes) -> bytes:
    return b"/".join(path.replace(b"\\", b"/").split(b"/")[-2:])


class Sampler:
    """Draws the images of each epoch, which depend only on the seed and the epoch."""

    def __init__(self, labels: np.ndarray, epoch_images: int, mode: str, seed: int, rank: Rank = ALONE,
                 batch_size: int = 1):
        """Check that there are enough images.

        Raises FlagError if there are too few to draw without replacement.

        Args:
            labels: int32 [images].
            epoch_images: images in an epoch.
            mode: "without_replacement", each image at most once in an epoch; "with_replacement"; "class_balanced",
                first a person, then one of the person's images.
            seed: the run's seed.
            rank: of this process, which reads every W-th image of a batch that W ranks share.
            batch_size: images in a batch of all ranks.
        """
        if mode == "without_replacement" and epoch_images > len(labels):
            raise FlagError(f"an epoch draws {epoch_images} images (epoch_size x batch_size), and there are only "
                            f"{len(labels)}: use a smaller --epoch_size, or --sample_with_replacement")
        self._labels, self.epoch_images, self._mode, self.seed = labels, epoch_images, mode, seed
        own = np.arange(epoch_images).reshape(-1, batch_size)[:, rank.number::rank.size]
        self.batch_size = own.shape[1]  # images of this process in a batch
        self.positions = own.ravel()  # of this process's images in an epoch

    def indices(self, epoch: int) -> np.ndarray:
        """Return the indices of this process's images of an epoch in `labels`, int [num]; epochs count from 0."""
        return self._draw(epoch)[self.positions]

    def _draw(self, epoch: int) -> np.ndarray:
        random = np.random.RandomState([self.seed, 0, epoch])
        if self._mode == "without_replacement":
            return random.permutation(len(self._labels))[:self.epoch_images]
        if self._mode == "with_replacement":
            return random.randint(0, len(self._labels), self.epoch_images)
        order = np.argsort(self._labels, kind="stable")
        present, begins, counts = np.unique(self._labels[order], return_index=True, return_counts=True)
        uniform = random.random_sample((self.epoch_images, 2))  # row by row: a longer epoch has the same first images
        person = (uniform[:, 0] * len(present)).astype(int)
        return order[begins[person] + (uniform[:, 1] * counts[person]).astype(int)]

    def substitute(self, epoch: int, position: int, attempt: int) -> int:
        """Return the index of a replacement for the image at a position in `indices`; attempts count from 0."""
        seed = [self.seed, 2, epoch, self.positions[position], attempt]
        return int(np.random.RandomState(seed).randint(len(self._labels)))


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Check a folder: list it and print what is in it; return the exit status."""
    (folder,) = program.positionals(arguments, "python3 -m circleloss_tf1.faces FOLDER")
    faces = scan(folder)
    counts = np.bincount(faces.labels)
    print(*faces.notices, f"{len(faces)} images of {len(faces.people)} people, {counts.min()} to {counts.max()} of "
          f"each, {int((counts == 1).sum())} people with one", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
