"""From annotated frames of ILSVRC2015 VID to crops of 255 x 255 around the targets.

Raw: Annotations/VID/{train/ILSVRC2015_VID_train_000N,val}/<video>/<frame>.xml beside Data/VID/.../<frame>.JPEG.
Curated: Data/VID/train/<letter>/<video>/<frame>.<track>.crop.x.jpg, letters a to d for the parts of train and e for
val.
"""
from __future__ import annotations

import math
import os
from typing import NamedTuple, Sequence
from xml.etree import ElementTree

import numpy as np

from common.data import listing
from common.errors import ZooError
from sa_siam_tf1 import load_opencv
from sa_siam_tf1.configuration import CURATED_SIDE, EXEMPLAR_SIDE

JPEG_QUALITY = 90
_MAX_ANNOTATION_BYTES = 1 << 20
# largest box, in sides of the frame: annotated targets reach at most some pixels out of it, and the memory that a crop
# takes grows with the square of the box
MAX_BOX_SIDES = 2
PARTS = {f"train/ILSVRC2015_VID_train_000{number}": letter for number, letter in enumerate("abcd")}
PARTS["val"] = "e"


class Box(NamedTuple):
    """A target in a frame."""

    track: int
    x: float  # of the centre, pixels, counted from 0 as in the annotation
    y: float
    width: float
    height: float


def context_side(width: float, height: float) -> float:
    """Return the side of the square that has the area of a box with its margin (SiamFC, equation 15)."""
    margin = 0.5 * (width + height)
    return math.sqrt((width + margin) * (height + margin))


def crop(image: np.ndarray, centre: Sequence[float], context: float) -> np.ndarray:
    """Crop a target with its surroundings to uint8 [255, 255, 3]; pixels outside of the image have its mean colour.

    The centre is y, x, counted from 0. The context becomes 127 of the 255 pixels.
    """
    cv2 = load_opencv()
    side = int(np.round(context + 2 * ((CURATED_SIDE - EXEMPLAR_SIDE) / 2) / (EXEMPLAR_SIDE / context)))
    top, left = (int(np.round(middle - (side - 1) / 2)) for middle in centre)
    height, width = image.shape[:2]
    mean = [int(value) for value in cv2.mean(image)[:3]]
    patch = np.empty((side, side, 3), np.uint8)
    patch[:] = mean
    rows, columns = (slice(max(0, start), min(size, start + side)) for start, size in ((top, height), (left, width)))
    if rows.start < rows.stop and columns.start < columns.stop:
        patch[rows.start - top:rows.stop - top, columns.start - left:columns.stop - left] = image[rows, columns]
    return patch if side == CURATED_SIDE else cv2.resize(patch, (CURATED_SIDE, CURATED_SIDE))


def to_jpeg(image: np.ndarray) -> bytes:
    """Encode uint8 [height, width, 3], RGB, as the curated files."""
    cv2 = load_opencv()
    is_encoded, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert is_encoded
    return data.tobytes()


def read_annotation(path: str) -> list[Box]:
    """Read the targets of a frame.

    Raises:
        ZooError: the file is not XML, or a box is invalid.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_ANNOTATION_BYTES + 1)
        if len(content) > _MAX_ANNOTATION_BYTES:
            raise ValueError(f"it has more than {_MAX_ANNOTATION_BYTES} bytes")
        if b"<!" in content.replace(b"<!--", b"") or b"\0" in content:  # entities grow beyond all bounds
            raise ValueError("it has a document type, or is not UTF-8")
        root = ElementTree.fromstring(content)  # noqa: S314
    except (ElementTree.ParseError, OSError, ValueError) as error:
        raise ZooError(f"{path}: is not a readable annotation ({error})") from None
    boxes = []
    for element in root.iter("object"):
        try:
            track = int(element.findtext("trackid", ""))
            left, right, top, bottom = (float(element.findtext(f"bndbox/{name}", ""))
                                        for name in ("xmin", "xmax", "ymin", "ymax"))
        except ValueError as error:
            raise ZooError(f"{path}: an object lacks trackid or bndbox with xmin, xmax, ymin, ymax ({error})") from None
        width, height = right - left + 1.0, bottom - top + 1.0
        if not (width >= 1 and height >= 1 and math.isfinite(width) and math.isfinite(height)) or track < 0:
            raise ZooError(f"{path}: track {track} has a box of {width:g} x {height:g} pixels, expected xmax >= xmin "
                           "and ymax >= ymin")
        boxes.append(Box(track, left + (width - 1) / 2, top + (height - 1) / 2, width, height))
    return boxes


def crop_box(image: np.ndarray, box: Box, path: str) -> np.ndarray:
    """`crop` an annotated target from its frame, whose path is for the message of the error.

    Raises:
        ZooError: the box has no pixel in the frame, or is far larger than the frame.
    """
    height, width = image.shape[:2]
    if box.width > MAX_BOX_SIDES * width or box.height > MAX_BOX_SIDES * height:
        raise ZooError(f"{path}: the box of track {box.track} has {box.width:g} x {box.height:g} pixels, expected at "
                       f"most {MAX_BOX_SIDES} times the frame of {width} x {height}")
    reach_x, reach_y = box.width / 2, box.height / 2
    if not (-reach_x < box.x < width - 1 + reach_x and -reach_y < box.y < height - 1 + reach_y):
        raise ZooError(f"{path}: the box of track {box.track} lies outside of the frame of {width} x {height} pixels "
                       f"(centre {box.x:g}, {box.y:g})")
    return crop(image, (box.y, box.x), context_side(box.width, box.height))


class RawVideo(NamedTuple):
    """A video of the raw tree."""

    letter: str
    name: str
    frames: list  # pairs of paths, of an annotation and its frame, in order


def raw_videos(root: str) -> list[RawVideo]:
    """List the videos of a raw tree, in the order of letters and names; raise ZooError if there is none."""
    videos = []
    for part, letter in PARTS.items():
        annotations, frames = (os.path.join(root, kind, "VID", *part.split("/")) for kind in ("Annotations", "Data"))
        for name in listing.folders(annotations):
            videos.append(RawVideo(letter, name, [
                (os.path.join(annotations, name, file), os.path.join(frames, name, f"{listing.stem_of(file)}.JPEG"))
                for file in listing.files(os.path.join(annotations, name), (".xml",))]))
    if not videos:
        raise ZooError(f"{root}: no video in Annotations/VID/val or Annotations/VID/train/ILSVRC2015_VID_train_0000 to "
                       "0003")
    return videos
