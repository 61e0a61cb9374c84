"""Where data sets of tracking keep frames and true boxes.

    OTB, LaSOT        <name>/img/0001.jpg            <name>/groundtruth_rect.txt or groundtruth.txt
    VOT               <name>/color/00000001.jpg      <name>/groundtruth.txt
    GOT-10k           <name>/00000001.jpg            <name>/groundtruth.txt
    UAV123            data_seq/UAV123/<name>/*.jpg   anno/UAV123/<name>.txt
    TrackingNet       frames/<name>/0.jpg            anno/<name>.txt

Sequences can be one folder deeper, as in the classes of LaSOT and the parts of GOT-10k.
"""
from __future__ import annotations

import os
from typing import NamedTuple

from common.data import listing
from sa_siam_tf1.inference import otb

# first frames of sequences that UAV123 cuts out of a longer one, whose parts called _1 begin at frame 1
_UAV123_STARTS = dict(
    bird1_2=775, bird1_3=1573, car1_2=751, car1_3=1627, car6_2=487, car6_3=1807, car6_4=2953, car6_5=3925, car8_2=1357,
    car16_2=415, group1_2=1333, group1_3=2515, group1_4=3925, group2_2=907, group2_3=1771, group3_2=1567,
    group3_3=2827, group3_4=4369, person2_2=1189, person4_2=1501, person5_2=877, person7_2=1249, person8_2=1075,
    person12_2=601, person14_2=847, person14_3=1813, person17_2=1501, person19_2=1243, person19_3=2791, truck4_2=577,
    uav1_2=1555, uav1_3=2473)


class Annotated(NamedTuple):
    """A sequence with true boxes."""

    name: str
    frames: str  # folder
    truth: dict  # files of boxes by the target's number
    start: int | None = None  # number of the first frame, for a sequence that is a part of what the folder holds


def find(folder: str) -> list[Annotated]:
    """Find the sequences in a folder, or the one that it is; none for other layouts."""
    own = otb.truth_files(folder)
    if own:
        return [Annotated(os.path.basename(os.path.abspath(folder)), folder, own)]
    sequences = _with_annotations_apart(folder)
    inner = [os.path.join(folder, name) for name in listing.folders(folder)]
    for paths in (inner, [os.path.join(path, name) for path in inner for name in listing.folders(path)]):
        if not sequences:
            sequences = [Annotated(os.path.basename(path), path, truth)
                         for path, truth in ((path, otb.truth_files(path)) for path in paths) if truth]
    return sequences


def _with_annotations_apart(folder: str) -> list[Annotated]:
    anno, sequences = os.path.join(folder, "anno"), []
    for part in ("", *listing.folders(anno)):
        files = listing.files(os.path.join(anno, part), (".txt",)) if os.path.isdir(anno) else []
        roots = [os.path.join(folder, *names) for names in (("frames",), ("data_seq", part), ("data_seq", "UAV123"))]
        for file in files:
            name = listing.stem_of(file)
            whole = name.rpartition("_")[0]  # of a sequence that is cut out of it
            paths = [os.path.join(root, candidate) for candidate in filter(None, (name, whole)) for root in roots]
            path = next(filter(os.path.isdir, paths), None)
            if path:
                start = None if os.path.basename(path) == name else _UAV123_STARTS.get(name, 1)
                sequences.append(Annotated(name, path, {1: os.path.join(anno, part, file)}, start))
    return sequences
