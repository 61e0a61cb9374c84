"""The images that a program searches: those that cannot be read are reported and left out, and it fails at its end.

A file that the user names, as a query or in --against, must be readable.
"""
from __future__ import annotations

import os
from typing import Callable, Iterable, Sequence

import numpy as np

from common import console
from common.data import images, listing
from common.errors import ZooError

THUMBNAIL_SIDE = 160
_BILINEAR = 2  # PIL.Image.BILINEAR, whose name differs between versions


def find_images(paths: Sequence[str], suffixes: Sequence[str] = images.SUFFIXES) -> list[str]:
    """Return image files, and those in folders at any depth, each once, without links; ZooError if a path has none."""
    found: dict[str, None] = {}
    for path in paths:
        if not os.path.isdir(path):
            found.update(dict.fromkeys(images.list_images(path, suffixes)))
            continue
        below: list[str] = []
        for folder, names, _ in listing.walk(path):
            names[:] = [name for name in listing.folders(folder) if name in names]
            below += listing.in_frame_order([os.path.join(folder, name) for name in listing.files(folder, suffixes)])
        if not below:
            raise ZooError(f"{path}: contains no image ({', '.join(suffixes)}), nor do the folders in it")
        found.update(dict.fromkeys(below))
    return list(found)


def read_gray(path: str, side: int, background: str = "white") -> np.ndarray:
    """Decode an upright image to gray and resize it to uint8 [side, side], regardless of its aspect ratio."""
    image = images.open_image(path, "L", background=background, upright=True)
    return np.asarray(image.resize((side, side), _BILINEAR), np.uint8)


def thumbnail(path: str, background: str = "white") -> np.ndarray:
    """Decode an upright image to RGB for a picture of results, at most THUMBNAIL_SIDE wide and high."""
    image = images.open_image(path, "RGB", background=background, upright=True)
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    return np.asarray(image)


def indices_besides(query: str, found: Sequence[str], paths: Sequence[str]) -> list[int]:
    """Return the indices of the found images but the query, unless it is among the paths; ZooError without any."""
    indices = [index for index, path in enumerate(found) if path in paths or not os.path.samefile(path, query)]
    if not indices:
        raise ZooError(f"{', '.join(paths)}: holds no image besides the query")
    return indices


def one_color_notices(names: Sequence[str], pixels: Sequence[np.ndarray]) -> list[str]:
    """Return a line for each image whose pixels are all equal, such as a white drawing on white."""
    return [f"Warning: {name}: all pixels are {image.flat[0]}; if the image is transparent, set its background with "
            "--background=black or white" for name, image in zip(names, pixels) if (image == image.flat[0]).all()]


class LeftOut:
    """The images that a search leaves out; `reasons` say why each cannot be read, by path."""

    def __init__(self, named: Iterable[str]):
        """Leave out nothing yet; `named` are the files that the user names."""
        self.reasons: dict[str, str] = {}
        self._named = set(named)

    def add(self, path: str, reason: str) -> None:
        """Leave out an image and report it by a line, `reason`; raise ZooError if the user names the image."""
        if path in self._named:
            raise ZooError(reason)
        if path not in self.reasons:
            self.reasons[path] = reason
            console.notice(f"Warning: {reason}; left out")

    def read(self, paths: Sequence[str], decode: Callable[[str], np.ndarray]) -> dict[str, np.ndarray]:
        """Return images by path, each once; leave out those for which `decode` raises ZooError, as they are read."""
        decoded = {}
        for path in console.progress(list(dict.fromkeys(paths)), "reading", "image"):
            try:
                decoded[path] = decode(path)
            except ZooError as error:
                self.add(path, str(error))
        self.rest_of(paths)
        return decoded

    def rest_of(self, paths: Sequence[str]) -> list[str]:
        """Return the images that are not left out; raise ZooError if all of them are."""
        rest = [path for path in paths if path not in self.reasons]
        if not rest:
            raise ZooError(f"none of {len(paths)} images can be read")
        return rest

    def require_none(self, num_found: int) -> None:
        """Raise ZooError if some of `num_found` images were left out; call it when the results are written."""
        if self.reasons:
            raise ZooError(f"{len(self.reasons)} of {num_found} images were left out because they cannot be read; fix "
                           "or remove them")
