"""Convert sequences in OTB's layout to raw videos in the layout of ILSVRC2015 VID, for training.

    python3 sa_siam_tf1/scripts/otb_to_vid.py --data_path=FOLDER --save_path=ILSVRC2015 [--frames_per_video=25]

FOLDER contains sequences as for evaluate.py, <name>/img and <name>/groundtruth_rect.txt, or is one. The boxes of a
second target are in groundtruth_rect.2.txt. OTB counts pixels from 1, VID counts whole pixels from 0; a target that is
not visible has no box. JPEG frames are copied, others are encoded as JPEG of quality 90.
"""
from __future__ import annotations

import itertools
import os
import sys
from typing import Sequence

if __name__ == "__main__":
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path[0] = os.path.dirname(folder)
    import common  # noqa: F401 - which says what packages are missing

import numpy as np

from common.cli import program, shared_flags
from common.cli.parser import REQUIRED, FlagSet
from common.cli.program import StopRequest
from common.data import images, listing
from common.errors import FlagError, ZooError
from common.tiny_data import tracking
from sa_siam_tf1 import evaluation
from sa_siam_tf1.configuration import ROOT
from sa_siam_tf1.datasets import curation

_TRAIN_PARTS = sorted(part for part in curation.PARTS if part != "val")


def define_flags() -> FlagSet:
    """Return the flags."""
    flags = FlagSet(__doc__ or "")
    shared_flags.define_data(flags, "Folder of sequences in OTB's layout, or one such sequence.")
    flags.data.string("save_path", None, "New folder to write Annotations/VID and Data/VID to.", REQUIRED)
    flags.alias("save_path", "output_path")
    flags.data.integer("frames_per_video", None, "Cut each sequence into videos of this many frames.", 1)
    flags.data.string("validation", None, "Names of sequences, separated by commas, that become the part val; the "
                      "others become the four parts of train in turn.")
    return flags


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Convert; return the exit status."""
    flags = define_flags().parse(arguments)
    target_folder = os.path.abspath(os.path.expanduser(flags.save_path))
    if os.path.isdir(target_folder) and listing.names(target_folder):
        raise ZooError(f"--save_path={flags.save_path}: is not empty, expected a new folder; remove it if a conversion "
                       "was stopped there, or name another one")
    targets = evaluation.find_targets(shared_flags.find_path("data_path", flags.data_path, ROOT))
    sequences = {name: list(group) for name, group in itertools.groupby(targets, lambda target: target.sequence.name)}
    validation = flags.validation.split(",") if flags.validation else []
    for name in validation:
        if name not in sequences:
            raise FlagError(f"--validation={flags.validation}: no sequence {name}, there are {', '.join(sequences)}")
    counts = dict(train=0, val=0)
    for name, group in sequences.items():
        frames, kind = annotated_frames(group), "val" if name in validation else "train"
        length = flags.frames_per_video or len(frames)
        for start in range(0, len(frames), length):
            part = "val" if kind == "val" else _TRAIN_PARTS[counts[kind] % len(_TRAIN_PARTS)]
            video = f"ILSVRC2015_{kind}_{counts[kind]:08d}"
            write_video(target_folder, part, video, frames[start:start + length], stop)
            counts[kind] += 1
        print(f"{name}: {len(frames)} frames, targets: {len(group)}, to {kind}", flush=True)
    print(f"{counts['train']} videos of train and {counts['val']} of val in {target_folder}")
    return 0


def annotated_frames(targets: Sequence[evaluation.Target]) -> list[tuple[str, list]]:
    """Return, for each existing frame of a sequence, its path and its targets: pairs of track number and `vid_box`.

    The first target has the last number, as in the run that the README reports.
    """
    longest = max((target.sequence.paths for target in targets), key=len)
    boxes: dict[str, list] = {path: [] for path in longest if path}
    for track, target in enumerate(reversed(targets)):
        for path, truth in zip(target.sequence.paths, target.truth):
            box = vid_box(truth)
            if box and path in boxes:
                boxes[path].append((track, box))
    return list(boxes.items())


def vid_box(box: np.ndarray) -> tuple[int, int, int, int] | None:
    """Return a box of OTB (x, y, width, height, counted from 1) in whole pixels counted from 0; None without extent."""
    if not np.isfinite(box).all():
        return None
    left, top, width, height = (int(round(float(value))) for value in box - [1, 1, 0, 0])
    return (left, top, width, height) if width >= 1 and height >= 1 else None


def write_video(root: str, part: str, name: str, frames: list, stop: StopRequest) -> None:
    """Write frames, from `annotated_frames`, and their annotations as a video of a part of the raw tree.

    A box that has no pixel in its frame is left out. Raise ZooError if a frame cannot be read.
    """
    data, annotations = (os.path.join(root, kind, "VID", *part.split("/"), name) for kind in ("Data", "Annotations"))
    os.makedirs(data)
    os.makedirs(annotations)
    for number, (path, boxes) in enumerate(frames):
        stop.check()
        pixels = images.read_rgb(path)
        height, width = pixels.shape[:2]
        with open(path, "rb") as file:
            content = file.read()
        with open(os.path.join(data, f"{number:06d}.JPEG"), "wb") as file:
            is_upright = images.format_of(content) == "JPEG" and images.orientation_of(content) == 1
            file.write(content if is_upright else curation.to_jpeg(pixels))
        visible = [(track, box) for track, box in boxes
                   if box[0] < width and box[1] < height and box[0] + box[2] > 0 and box[1] + box[3] > 0]
        text = tracking.annotation("/".join((*part.split("/")[1:], name)), f"{number:06d}", visible, (width, height))
        with open(os.path.join(annotations, f"{number:06d}.xml"), "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    sys.exit(main())
