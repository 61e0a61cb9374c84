"""Crop 255 x 255 pixels around the targets of ILSVRC2015 VID, for training.

    python3 sa_siam_tf1/scripts/preprocess_VID_data.py --data_path=ILSVRC2015 --save_path=ILSVRC2015-VID-Curation

A stopped program resumes: existing crops are kept, and unfinished ones of a killed run are removed. The JPEG files have
quality 90.
"""
from __future__ import annotations

import concurrent.futures
import functools
import os
import re
import sys

if __name__ == "__main__":
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path[0] = os.path.dirname(folder)

from common import atomic_files, console
from common.cli import program, shared_flags
from common.cli.parser import REQUIRED, FlagSet
from common.data import images, listing
from sa_siam_tf1.configuration import ROOT
from sa_siam_tf1.datasets import curation, imdb

_UNFINISHED = re.compile(r"\..+\.\d{2,}\.crop\.x\.jpg\.([1-9]\d{0,8})\.tmp")  # temporary name of `atomic_files`


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Crop; return the exit status."""
    flag_set = FlagSet(__doc__ or "")
    shared_flags.define_data(flag_set, "Raw folder of ILSVRC2015 VID, with Annotations/VID and Data/VID, or its "
                             "parent.")
    flag_set.data.string("save_path", None, "Folder to write the crops to.", REQUIRED)
    flag_set.alias("save_path", "output_path")
    flag_set.data.integer("threads", 5, "Threads that crop.", 1, 256)
    flags = flag_set.parse(arguments)
    root = shared_flags.find_data_folder(flags.data_path, ROOT, ["ILSVRC2015"],
                                      lambda folder: os.path.isdir(os.path.join(folder, "Annotations", "VID")))
    target = os.path.abspath(os.path.expanduser(flags.save_path))
    videos = curation.raw_videos(root)
    made, kept = 0, 0
    for video in console.progress(videos, "cropping", "video"):
        stop.check()
        crops = os.path.join(target, *imdb.CURATED, video.letter, video.name)
        remove_unfinished(crops)
        with concurrent.futures.ThreadPoolExecutor(flags.threads) as pool:
            for written, there in pool.map(functools.partial(curate_frame, crops), *zip(*video.frames)):
                made, kept = made + written, kept + there
    print(f"{len(videos)} videos: {made} crops made, {kept} were there; in {target}")
    return 0


def remove_unfinished(folder: str) -> None:
    """Remove temporary files of processes that no longer run here from a folder of crops, which may be missing."""
    for name in os.listdir(folder) if os.path.isdir(folder) else []:
        match, path = _UNFINISHED.fullmatch(name), os.path.join(folder, name)
        if match and os.path.isfile(path) and not _runs(int(match.group(1))):
            os.remove(path)


def _runs(process: int) -> bool:
    """Return whether another process has this id; our own is of an earlier one, as in a container: we wrote nothing."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        pass
    return process != os.getpid()


def curate_frame(folder: str, annotation: str, frame: str) -> tuple[int, int]:
    """Crop all targets of an annotated frame into a folder; return how many crops were made and how many existed."""
    boxes = curation.read_annotation(annotation)
    stem = os.path.join(folder, listing.stem_of(annotation))
    missing = [box for box in boxes if not os.path.exists(f"{stem}.{box.track:02d}.crop.x.jpg")]
    if missing:
        pixels = images.read_rgb(frame, upright=False)
        os.makedirs(folder, exist_ok=True)
        for box in missing:
            atomic_files.write_bytes(f"{stem}.{box.track:02d}.crop.x.jpg",
                                     curation.to_jpeg(curation.crop_box(pixels, box, frame)))
    return len(missing), len(boxes) - len(missing)


if __name__ == "__main__":
    sys.exit(main())
