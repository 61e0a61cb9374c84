"""Index curated crops by track, for training and validation.

    python3 sa_siam_tf1/scripts/build_VID2015_imdb.py --data_path=ILSVRC2015-VID-Curation

Writes train_imdb.json and validation_imdb.json to the folder, or to --save_path; paths in them are relative to the
folder. The first tenth of the videos by name is for validation, with --validation=val the part val.
"""
from __future__ import annotations

import itertools
import os
import sys

if __name__ == "__main__":
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path[0] = os.path.dirname(folder)

from common import atomic_files
from common.cli import program, shared_flags
from common.cli.parser import FlagSet
from common.errors import ZooError
from sa_siam_tf1.configuration import ROOT
from sa_siam_tf1.datasets import curation, imdb


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Index; return the exit status."""
    flag_set = FlagSet(__doc__ or "")
    shared_flags.define_data(flag_set, "Curated folder, or its parent.")
    flag_set.data.string("save_path", None, "Folder to write the index to.", "the curated folder")
    flag_set.alias("save_path", "output_path")
    flag_set.data.choice("validation", "tenth", ["tenth", "val"], "Validation videos: the first tenth, as in the "
                         "original, or those of the part val.")
    flags = flag_set.parse(arguments)
    curated = shared_flags.find_data_folder(flags.data_path, ROOT, ["ILSVRC2015-VID-Curation"],
                                         lambda path: os.path.isdir(os.path.join(path, *imdb.CURATED)))
    target = os.path.abspath(os.path.expanduser(flags.save_path)) if flags.save_path else curated
    parts = divide(curated, flags.validation)
    os.makedirs(target, exist_ok=True)
    for name, tracks in zip(imdb.IMDB_FILES, parts):
        path = os.path.join(target, name)
        atomic_files.write_json(path, dict(videos=tracks, n_videos=len(tracks), image_shape=imdb.IMAGE_SHAPE))
        print(f"{path}: {len(tracks)} tracks, {sum(map(len, tracks))} crops")
    return 0


def divide(folder: str, validation: str) -> list:
    """Return the tracks of a curated tree to train on, and those to validate with: "tenth" or "val", as the flag.

    Raises:
        ZooError: there is nothing to index, or the part val is empty.
    """
    below = "/".join(imdb.CURATED)
    if validation == "val":
        letter = curation.PARTS["val"]
        parts = [list(itertools.chain.from_iterable(imdb.curated_videos(folder, letters)))
                 for letters in (sorted(set(imdb.LETTERS) - {letter}), [letter])]
        if not parts[1]:
            raise ZooError(f"{folder}: no crop in {below}/{letter}, expected those of the part val; without "
                           "--validation=val the first tenth of the videos validates")
    else:
        parts = imdb.split(imdb.curated_videos(folder), [])
    if not parts[0]:
        raise ZooError(f"{folder}: no crop in {below}/<letter>/<video>/<frame>.<track>.crop.x.jpg; make them with "
                       "scripts/preprocess_VID_data.py")
    return parts


if __name__ == "__main__":
    sys.exit(main())
