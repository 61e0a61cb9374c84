"""Index curated crops by track, for training and validation.

    python3 sa_siam_tf1/scripts/build_VID2015_imdb.py --data_path=ILSVRC2015-VID-Curation

Writes train_imdb.json and validation_imdb.json to the folder, or to --save_path; paths in them are relative to the
folder. The first tenth of the videos by name is for validation, with --validation=val the part val.
"""
from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path[0] = os.path.dirname(folder)

from common.cli import program, shared_flags
from common.cli.parser import FlagSet

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Index; return the exit status."""
    from sa_siam_tf1.datasets import imdb

    flag_set = FlagSet(__doc__ or "")
    shared_flags.define_data(flag_set, "Curated folder, or its parent.")
    flag_set.data.string("save_path", None, "Folder to write the index to.", "the curated folder")
    flag_set.alias("save_path", "output_path")
    flag_set.data.choice("validation", "tenth", ["tenth", "val"], "Validation videos: the first tenth, as in the "
                         "original, or those of the part val.")
    flags = flag_set.parse(arguments)
    curated = shared_flags.find_data_folder(flags.data_path, ROOT, ["ILSVRC2015-VID-Curation"],
                                         lambda path: os.path.isdir(os.path.join(path, "Data", "VID", "train")))
    target = os.path.abspath(os.path.expanduser(flags.save_path)) if flags.save_path else curated
    for path, tracks, crops in imdb.write_index(curated, target, flags.validation):
        print(f"{path}: {tracks} tracks, {crops} crops")
    return 0


if __name__ == "__main__":
    sys.exit(main())
