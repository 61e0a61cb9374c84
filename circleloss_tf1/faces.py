"""Training data: a folder of images per person, and the images of each step.

    MS-Celeb-1M_clean_align/<person>/<any name>.jpg|.jpeg|.png

The person is the class; classes and files are sorted by name. Files are not opened before they are decoded.
"""
from __future__ import annotations

import array
import os
import sys
import zlib
from typing import Callable, Iterable, Iterator, NamedTuple, Sequence

if __name__ == "__main__":
    from common import packages

    packages.require()

import numpy as np

from common import console
from common.cli import program
from common.data.listing import is_left_behind
from common.devices.selection import ALONE, Rank
from common.errors import FlagError, ZooError

FOLDER_NAMES = ("MS-Celeb-1M_clean_align", "dataset/MS-Celeb-1M_clean_align")
SUFFIXES = (b".jpg", b".jpeg", b".png")


class Names(NamedTuple):
    """Names of files, joined: as a list, each would take three times as much memory."""

    joined: bytes
    ends: np.ndarray  # int64 [names], where each name ends

    @classmethod
    def of(cls, names: Sequence[bytes]) -> Names:
        """Join a list of names."""
        return cls(b"".join(names), np.cumsum([len(name) for name in names], dtype=np.int64))

    def at(self, index: int) -> bytes:
        """Return a name."""
        return self.joined[self.ends[index - 1] if index else 0:self.ends[index]]


class Faces:
    """A list of images with their people; a million of them take about 30 MB.

    Attributes:
        folder: the data folder.
        people: names of the classes.
        labels: int32 [images], the class of each image.
        names: file names of the images.
        fingerprint: number of images and people, and a checksum of all names and sizes.
        notices: lines about ignored files.
        read: returns the content of a path; None if paths are those of files.
    """

    read: Callable[[bytes], bytes] | None = None

    def __init__(self, folder: str, people: list[bytes], labels: np.ndarray, names: Names, sizes_crc: int,
                 notices: list[str]):
        self.folder = folder
        self.people = people
        self.labels = labels
        self.names = names
        self.fingerprint = [len(labels), len(people), sizes_crc]
        self.notices = notices

    def __len__(self) -> int:
        return len(self.labels)

    def path(self, index: int) -> bytes:
        """Return the path of an image, as bytes of the file system."""
        return os.path.join(os.fsencode(self.folder), self.people[self.labels[index]], self.name(index))

    def name(self, index: int) -> bytes:
        """Return the file name of an image."""
        return self.names.at(index)

    def take(self, indices: np.ndarray) -> Faces:
        """Return the images at rising `indices`; people without an image are dropped, and classes are renumbered."""
        kept, labels = np.unique(self.labels[indices], return_inverse=True)
        names = Names.of([self.name(index) for index in indices])
        crc = zlib.crc32(indices.astype(np.int64).tobytes(), self.fingerprint[2])
        return Faces(self.folder, [self.people[label] for label in kept], labels.astype(np.int32), names, crc,
                     self.notices)


def has_faces(folder: str) -> bool:
    """Return whether a sub-folder holds an image."""
    with os.scandir(os.fsencode(folder)) as entries:
        return any(entry.is_dir() and _has_image(entry.path) for entry in _data(entries))


def _has_image(folder: bytes) -> bool:
    with os.scandir(folder) as entries:
        return any(entry.name.lower().endswith(SUFFIXES) for entry in _data(entries))


def _data(entries: Iterable[os.DirEntry[bytes]]) -> Iterator[os.DirEntry[bytes]]:
    """Leave out what systems leave behind."""
    return (entry for entry in entries if not is_left_behind(os.fsdecode(entry.name)))


def scan(folder: str) -> Faces:
    """List the images; every folder is read once, and no image is opened.

    Raises:
        ZooError: fewer than two people.
    """
    people, counts, joined, lengths, sizes = [], [], bytearray(), array.array("H"), 0
    strays = nested = empty = 0
    with os.scandir(os.fsencode(folder)) as entries:
        folders = []
        for entry in _data(entries):
            if entry.is_dir():
                folders.append(entry.name)
            else:
                strays += 1
    for person in console.progress(sorted(folders), "listing images", "person"):
        files = []
        with os.scandir(os.path.join(os.fsencode(folder), person)) as entries:
            for entry in _data(entries):
                if entry.is_dir():
                    nested += 1
                elif entry.name.lower().endswith(SUFFIXES):
                    files.append((entry.name, _size(entry)))
                else:
                    strays += 1
        if not files:
            empty += 1
            continue
        files.sort()
        sizes = zlib.crc32(repr((person, files)).encode(), sizes)
        counts.append(len(files))
        for name, _ in files:
            joined += name
            lengths.append(len(name))
        people.append(person)
    if len(people) < 2:
        raise ZooError(f"{folder}: images of {len(people)} people, expected at least 2 folders with .jpg, .jpeg or "
                       ".png files")
    ignored = ((strays, "files that are no images"), (nested, "folders within a person's folder"),
               (empty, "people without an image"))
    notices = [f"Notice: {folder}: {count} {what} ignored" for count, what in ignored if count]
    names = Names(bytes(joined), np.cumsum(np.frombuffer(lengths, np.uint16), dtype=np.int64))
    return Faces(folder, people, np.repeat(np.arange(len(people), dtype=np.int32), counts), names, sizes, notices)


def _size(entry: os.DirEntry) -> int:
    try:
        return entry.stat().st_size
    except OSError:  # a broken link; decoding reports it
        return -1


class Split(NamedTuple):
    """Indices of the training and of the validation images."""

    train: np.ndarray
    validation: np.ndarray


def split(faces: Faces, ratio: float, min_images: int, seed: int) -> Split:
    """Choose validation images at random: a share of every person's images, at least one and never all.

    Args:
        faces: the images.
        ratio: share of the validation; 0 for none.
        min_images: people who would keep fewer images for training are not validated.
        seed: the run's seed.
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
    """Drop the images that are far from the center of their class.

    Args:
        faces: the images.
        path: HDF5 file with `distance_to_center` [num] and `image_list` [num], paths that end in person/name.
        percentile: images at or above this percentile of the distances are dropped.
        min_images: people with fewer remaining images are dropped.

    Raises:
        ZooError: the file is invalid, or fewer than two people remain.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            distances, listed = np.array(file["distance_to_center"], np.float64), list(file["image_list"])
    except (OSError, KeyError, ValueError) as error:
        raise ZooError(f"--filter_filename={path}: is not an HDF5 file with distance_to_center and image_list ({error})"
                       ) from None
    if len(listed) != len(distances):
        raise ZooError(f"{path}: {len(listed)} images and {len(distances)} distances")
    far = distances >= np.percentile(distances, percentile)
    dropped = {_person_and_name(os.fsencode(image)) for image, is_far in zip(listed, far) if is_far}
    kept = np.array([index for index in range(len(faces)) if _person_and_name(faces.path(index)) not in dropped], int)
    counts = np.bincount(faces.labels[kept], minlength=len(faces.people))
    kept = kept[counts[faces.labels[kept]] >= max(min_images, 1)]
    if len(np.unique(faces.labels[kept])) < 2:
        raise ZooError(f"{path}: leaves images of fewer than 2 people; take a larger --filter_percentile or a smaller "
                       "--filter_min_nrof_images_per_class")
    filtered = faces.take(kept)
    filtered.notices = [*faces.notices, f"Filtered by {path}: {len(filtered)} of {len(faces)} images of "
                        f"{len(filtered.people)} of {len(faces.people)} people are left"]
    return filtered


def _person_and_name(path: bytes) -> bytes:
    return b"/".join(path.replace(b"\\", b"/").split(b"/")[-2:])


class Sampler:
    """Draws the images of each epoch, which depend only on the seed and the epoch."""

    def __init__(self, labels: np.ndarray, epoch_images: int, mode: str, seed: int, rank: Rank = ALONE,
                 batch_size: int = 1):
        """Check that there are enough images.

        Args:
            labels: int32 [images].
            epoch_images: images in an epoch.
            mode: "without_replacement", each image at most once in an epoch; "with_replacement"; "class_balanced",
                first a person, then one of the person's images.
            seed: the run's seed.
            rank: of this process, which reads every W-th image of a batch that W ranks share.
            batch_size: images in a batch of all ranks.

        Raises:
            FlagError: too few images to draw without replacement.
        """
        if mode == "without_replacement" and epoch_images > len(labels):
            raise FlagError(f"an epoch draws {epoch_images} images (epoch_size x batch_size), and there are only "
                            f"{len(labels)}: take a smaller --epoch_size, or --sample_with_replacement")
        self._labels, self.epoch_images, self._mode, self._seed = labels, epoch_images, mode, seed
        batches = np.arange(epoch_images).reshape(-1, batch_size)
        self.positions = batches[:, rank.number::rank.size].ravel()  # of this process's images in an epoch

    def indices(self, epoch: int) -> np.ndarray:
        """Return the indices of this process's images of an epoch in `labels`, int [num]; epochs count from 0."""
        return self._draw(epoch)[self.positions]

    def _draw(self, epoch: int) -> np.ndarray:
        random = np.random.RandomState([self._seed, 0, epoch])
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
        seed = [self._seed, 2, epoch, self.positions[position], attempt]
        return int(np.random.RandomState(seed).randint(len(self._labels)))


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Check a folder: list it and print what is in it; return the exit status."""
    (folder,) = program.positionals(arguments, "python3 -m circleloss_tf1.faces FOLDER")
    faces = scan(folder)
    for notice in faces.notices:
        print(notice)
    counts = np.bincount(faces.labels)
    print(f"{len(faces)} images of {len(faces.people)} people, {counts.min()} to {counts.max()} of each, "
          f"{int((counts == 1).sum())} people with one")
    return 0


if __name__ == "__main__":
    sys.exit(main())
