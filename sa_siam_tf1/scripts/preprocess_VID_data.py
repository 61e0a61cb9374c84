"""Crop 255 x 255 pixels around the targets of ILSVRC2015 VID, for training.

    python3 sa_siam_tf1/scripts/preprocess_VID_data.py --data_path=ILSVRC2015 --save_path=ILSVRC2015-VID-Curation

A stopped program resumes: existing crops are kept, and unfinished ones of a killed run are removed. The JPEG files have
quality 90.
"""
from __future__ import annotations

import concurrent.futures
import os
import re
import sys

if __name__ == "__main__":
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path[0] = os.path.dirname(folder)

from common import console
from common.cli import program, shared_flags
from common.cli.parser import REQUIRED, FlagSet

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_UNFINISHED = re.compile(r"\..+\.\d{2,}\.crop\.x\.jpg\.([1-9]\d{0,8})\.tmp")  # temporary name of `atomic_files`


def define_flags() -> FlagSet:
    """Return the flags."""
    flags = FlagSet(__doc__ or "")
    shared_flags.define_data(flags, "Raw folder of ILSVRC2015 VID, with Annotations/VID and Data/VID, or its parent.")
    flags.data.string("save_path", None, "Folder to write the crops to.", REQUIRED)
    flags.alias("save_path", "output_path")
    flags.data.integer("threads", 5, "Threads that crop.", 1, 256)
    return flags


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Crop; return the exit status."""
    from sa_siam_tf1.datasets import curation

    flags = define_flags().parse(arguments)
    root = shared_flags.find_data_folder(flags.data_path, ROOT, ["ILSVRC2015"],
                                      lambda folder: os.path.isdir(os.path.join(folder, "Annotations", "VID")))
    target = os.path.abspath(os.path.expanduser(flags.save_path))
    videos = curation.raw_videos(root)
    made, kept = 0, 0
    for video in console.progress(videos, "cropping", "video"):
        stop.check()
        remove_unfinished(os.path.join(target, *video.crop_folder.split("/")))
        with concurrent.futures.ThreadPoolExecutor(flags.threads) as pool:
            for written, there in pool.map(lambda path, video=video: curate_frame(video, path, target),
                                           video.annotation_files()):
                made, kept = made + written, kept + there
    print(f"{len(videos)} videos: {made} crops made, {kept} were there; in {target}")
    return 0


def remove_unfinished(folder: str) -> None:
    """Remove temporary files of processes that no longer run on this machine.

    Args:
        folder: of a video in the curated tree; it may be missing.
    """
    for name in os.listdir(folder) if os.path.isdir(folder) else []:
        match, path = _UNFINISHED.fullmatch(name), os.path.join(folder, name)
        if match and os.path.isfile(path) and not _runs(int(match.group(1))):
            os.remove(path)


def _runs(process: int) -> bool:
    """Return whether another process has this id."""
    if process == os.getpid():  # of an earlier process, as in a container: this one has written nothing yet
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        pass
    return True


def curate_frame(video, annotation: str, target: str) -> tuple[int, int]:
    """Crop all targets of a frame; return how many crops were made and how many existed.

    Args:
        video: the frame's `curation.RawVideo`.
        annotation: path of the frame's annotation.
        target: the curated tree.

    Raises:
        ZooError: a bad annotation or frame.
    """
    from common import atomic_files
    from common.data import images
    from sa_siam_tf1.datasets import curation

    boxes = curation.read_annotation(annotation)
    paths = {box: os.path.join(target, *video.crop_name(annotation, box.track).split("/")) for box in boxes}
    missing = [box for box, path in paths.items() if not os.path.exists(path)]
    if missing:
        frame_path = video.frame_of(annotation)
        frame = images.read_rgb(frame_path, upright=False)
        for box in missing:
            os.makedirs(os.path.dirname(paths[box]), exist_ok=True)
            atomic_files.write_bytes(paths[box], curation.to_jpeg(curation.crop_box(frame, box, frame_path)))
    return len(missing), len(boxes) - len(missing)


if __name__ == "__main__":
    sys.exit(main())
