"""SA-Siam on ILSVRC2015 VID: train one branch of the tracker of arXiv 1802.08817.

    python3 sa_siam_tf1/train_siamese_model.py --data_path=FOLDER [--branch=appearance|semantic]

FOLDER holds the curated crops (Data/VID/train/<letter>/<video>/*.crop.x.jpg) or the raw data set (Annotations/VID and
Data/VID), or a folder ILSVRC2015-VID-Curation or ILSVRC2015 with either. After 199,500 steps of the appearance branch
the total loss is 0.263 on a GPU and 0.268 on an NPU (published).
"""
from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from common.checkpoints import bundle
from common.cli import program, shared_flags
from common.cli.parser import FlagSet, FlagValues
from common.devices import selection
from common.errors import FlagError
from common.run.run_dir import RunRequest
from sa_siam_tf1 import configuration, pretrained
from sa_siam_tf1.configuration import ROOT, TrainConfig
from sa_siam_tf1.recipe import Switches

NETWORK = "Siamese_ID1289_for_TensorFlow"
NPU_PRECISION = "allow_mix_precision"


def define_flags() -> FlagSet:
    """Return the flags of training."""
    flags = FlagSet(__doc__ or "")
    defaults = TrainConfig()
    shared_flags.define_data(flags, "Curated or raw folder of ILSVRC2015 VID, or its parent.")
    shared_flags.define_training(flags, "Pairs", defaults.batch_size, defaults.seed, epochs=str(defaults.epoch))
    shared_flags.define_accelerator(flags, NPU_PRECISION)
    flags.training.integer("steps", None, "Number of updates, like --train_steps.", 1)
    flags.model.choice("branch", "appearance", configuration.BRANCHES, "Branch to train; tracking joins the two.")
    pretrained.define(flags)
    configuration.define_flags(flags)
    flags.training.choice("cache_crops", "auto", ["auto", "memory", "off"], "Keep decoded training crops in the "
                          "memory of the device; auto does so if they need at most a quarter of the host's free "
                          "memory.")
    flags.ignored.boolean("static_shape", False, "SA-Siam uses full batches only.")
    return flags


def num_updates(flags: FlagValues, train: TrainConfig) -> int:
    """Return how many updates to make: the smallest limit that is given, or the default.

    Raises:
        FlagError: the epoch of the configuration is 0, and no limit is given.
    """
    if (flags.epochs or not (flags.train_steps or flags.steps or flags.performance)) and not train.epoch:
        raise FlagError(f"--config={flags.config}: its epoch is 0, which trains nothing; give --epochs or "
                        "--train_steps")
    return shared_flags.num_updates(flags, train.num_steps, flags.steps, flags.epochs and train.num_steps)


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Train; return the exit status."""
    from sa_siam_tf1.datasets import dataloader, imdb

    flag_set = define_flags()
    flags = flag_set.parse(arguments)
    model, train, track = configuration.from_flags(flags)
    flags.batch_size, flags.seed = train.batch_size, train.seed  # --config may have set them
    updates = num_updates(flags, train)
    selection.require_single_device(os.environ)
    folder = shared_flags.find_data_folder(flags.data_path, ROOT, imdb.FOLDER_NAMES, imdb.has_data)
    device = selection.choose(flags.device, os.environ)
    init_checkpoint = bundle.init_prefix(flags)
    imported = pretrained.choose(flags, model.branch, folder, init_checkpoint)
    data = imdb.load(folder, train.exif_orientation)
    request = RunRequest(__file__, NETWORK, arguments, flags, device, NPU_PRECISION, updates)

    from common.graph.session import open_run  # TensorFlow is imported here, after the flags and the device
    from sa_siam_tf1 import training

    cache = "off" if flags.over_dump else flags.cache_crops  # the checks of numbers would stumble over kept bytes
    keeps_crops, crops_notice = dataloader.choose_cache(cache, data.train, selection.free_memory())
    config = training.Config(model, train, track, init_checkpoint, imported.values, keeps_crops)
    identity = dict(configuration.identity(model, train), data=data.fingerprint, imported=imported.fingerprint,
                    init_checkpoint=bundle.fingerprint(init_checkpoint))
    switches = Switches(train.pair_order, train.exif_orientation)
    notices = [*flag_set.warnings(), *data.notices, *imported.notices,
               f"Data: {folder}, {len(data.train)} tracks to train on, {len(data.validation)} to validate with",
               crops_notice,
               f"{shared_flags.recipe_notice(flags.recipe, switches)}; branch {model.branch}"]
    with open_run(request, identity, notices) as run:
        training.train(config, data, run, stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
