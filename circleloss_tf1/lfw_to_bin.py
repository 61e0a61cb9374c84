"""Write LFW as the input files of an offline model: after export and ATC, a model that runs without TensorFlow.

    python3 circleloss_tf1/lfw_to_bin.py --data_path=FOLDER [--checkpoint=FILE|RUN_DIR] [--lfw_batch_size=N]

Writes 000000.bin, 000001.bin, ... to <run directory>/export/lfw_bin/, each float32 [batch, side, side, 3], little
endian, what the exported graph takes as `images`; the last one is filled with images from the beginning. index.json
beside them says what lfw_from_bin.py needs to know.
"""
from __future__ import annotations

import os
import re
import sys

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from circleloss_tf1 import command_line
from common import atomic_files
from common.checkpoints import trained
from common.cli import program, shared_flags
from common.cli.parser import FlagSet, FlagValues
from common.data.batching import full_batches
from common.devices import selection
from common.errors import FlagError, ZooError

ROOT = os.path.dirname(os.path.abspath(__file__))
FOLDER, INDEX = "lfw_bin", "index.json"


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Write the files; return the exit status."""
    from circleloss_tf1 import data_folders, usage_flags

    flag_set = FlagSet(__doc__ or "")
    shared_flags.define_data(flag_set, "Folder with lfw-deepfunneled_align.", "required without --lfw_dir")
    command_line.define_lfw(flag_set)
    usage_flags.define_flags(flag_set, with_device=False)
    flags = flag_set.parse(arguments)
    if not flags.lfw_dir:
        shared_flags.require_data_path(flags.data_path)
    weights_at = trained.find(flags, ROOT, "export", dict(os.environ))
    usage_flags.take_from_run(flags, weights_at.arguments())
    if flags.lfw_use_flipped_images:
        raise FlagError("--lfw_use_flipped_images: an offline model sees each image as it is; give "
                        "--lfw_use_flipped_images=false")
    folder = data_folders.find_lfw(flags, ROOT)
    if folder is None:
        raise ZooError(f"--data_path={flags.data_path}: holds no lfw-deepfunneled_align; give --lfw_dir=FOLDER")
    pairs = data_folders.read_pairs(flags, folder, ROOT)
    out = os.path.join(weights_at.folder, FOLDER)
    num_batches = _write_batches(flags, weights_at, pairs.paths, out, stop)
    index = dict(batch_size=flags.lfw_batch_size, num_batches=num_batches, images=pairs.paths,
                 is_same=[bool(same) for same in pairs.is_same], num_folds=flags.lfw_nrof_folds,
                 metric=int(flags.lfw_distance_metric), subtract_mean=flags.lfw_subtract_mean)
    atomic_files.write_json(os.path.join(out, INDEX), index)
    if flags.json:
        print(atomic_files.to_json(dict(folder=out, batches=num_batches, images=len(pairs.paths))))
    else:
        print(f"Written: {num_batches} batches of {flags.lfw_batch_size} images, {out}")
    return 0


def _write_batches(flags: FlagValues, weights_at: trained.Trained, paths: list[str], folder: str,
                   stop: program.StopRequest) -> int:
    """Write a file for each batch; return how many."""
    from circleloss_tf1 import face_images, restore
    from common.graph.session import inference_session

    device = selection.choose("cpu", os.environ)
    network = restore.network_settings(weights_at, flags)
    encoded = [path.encode("utf-8", "surrogateescape") for path in paths]
    batches = full_batches(len(encoded), flags.lfw_batch_size, wrap=True)
    os.makedirs(folder, exist_ok=True)
    for name in os.listdir(folder):  # of an earlier call with more batches
        if re.fullmatch(r"\d{6}\.bin", name) and int(name[:6]) >= len(batches):
            os.remove(os.path.join(folder, name))
    with inference_session(device, "cpu", "", flags.json) as session:
        feed = face_images.ImageFeed(flags.lfw_batch_size, network)
        feed.start(session, [encoded[row] for row in batches.flat])
        for index in range(len(batches)):
            stop.check()
            images = feed.next_readable(session)
            atomic_files.write_bytes(os.path.join(folder, f"{index:06d}.bin"), images.astype("<f4").tobytes())
    return len(batches)


if __name__ == "__main__":
    sys.exit(main())
