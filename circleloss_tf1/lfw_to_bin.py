"""Write LFW as input files of an offline model, which ATC converts from an export and which runs without TensorFlow.

    python3 circleloss_tf1/lfw_to_bin.py --data_path=FOLDER [--checkpoint=FILE|RUN_DIR] [--lfw_batch_size=N]

Writes 000000.bin, 000001.bin, ... to <run directory>/export/lfw_bin/: float32 [batch, side, side, 3], little endian,
the `images` of the exported graph. The last batch is filled up with the first images. index.json is for
lfw_from_bin.py.
"""
from __future__ import annotations

import os
import re
import sys

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from circleloss_tf1 import usage_flags
from common import atomic_files
from common.checkpoints.trained import Checkpoint
from common.cli import inference, program
from common.cli.parser import FlagSet, FlagValues
from common.data.batching import full_batches
from common.devices import selection
from common.errors import FlagError

FOLDER, INDEX = "lfw_bin", "index.json"


def define_flags() -> FlagSet:
    """Return the flags."""
    flags = FlagSet(__doc__ or "")
    usage_flags.define_lfw(flags)
    usage_flags.define(flags, with_device=False)
    return flags


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Write the files; return the exit status."""
    flags = define_flags().parse(arguments)
    checkpoint = usage_flags.choose(flags, "export")
    if flags.lfw_use_flipped_images:
        raise FlagError("--lfw_use_flipped_images: an offline model sees each image as it is; give "
                        "--lfw_use_flipped_images=false")
    pairs = usage_flags.require_pairs(flags)
    folder = os.path.join(checkpoint.output_folder, FOLDER)
    num_batches = _write_batches(flags, checkpoint, pairs.paths, folder, stop)
    index = dict(batch_size=flags.lfw_batch_size, num_batches=num_batches, images=pairs.paths,
                 is_same=[bool(same) for same in pairs.is_same], num_folds=flags.lfw_nrof_folds,
                 metric=int(flags.lfw_distance_metric), subtract_mean=flags.lfw_subtract_mean)
    atomic_files.write_json(os.path.join(folder, INDEX), index)
    inference.show(dict(folder=folder, batches=num_batches, images=len(pairs.paths)),
                   [f"Written: {num_batches} batches of {flags.lfw_batch_size} images, {folder}"], flags.json)
    return 0


def _write_batches(flags: FlagValues, checkpoint: Checkpoint, paths: list[str], folder: str,
                   stop: program.StopRequest) -> int:
    """Write a file for each batch; return how many."""
    device = selection.choose("cpu", os.environ)

    from circleloss_tf1 import face_images, restore  # TensorFlow is imported here, after the device
    from common.graph.session import inference_session

    network = restore.network_settings(checkpoint, flags)
    batches = full_batches(len(paths), flags.lfw_batch_size, wrap=True)
    os.makedirs(folder, exist_ok=True)
    for name in os.listdir(folder):  # of an earlier call with more batches
        if re.fullmatch(r"\d{6}\.bin", name) and int(name[:6]) >= len(batches):
            os.remove(os.path.join(folder, name))
    with inference_session(device, "cpu", "", flags.json) as session:
        feed = face_images.ImageFeed(flags.lfw_batch_size, network)
        feed.start(session, [paths[row] for row in batches.flat])
        for index in range(len(batches)):
            stop.check()
            images = feed.next(session)
            atomic_files.write_bytes(os.path.join(folder, f"{index:06d}.bin"), images.astype("<f4").tobytes())
    return len(batches)


if __name__ == "__main__":
    sys.exit(main())
