"""Train image similarity with the triplet loss on Totally Looks Like: which right image resembles a left one?

    python3 siamese_triplet_tf2/siamese_network.py --data_path=FOLDER

FOLDER holds left/ and right/ with images that look alike under the same names, and model/ with the weights of ResNet50;
or a folder totally_looks_like that holds them.
"""
from __future__ import annotations

import dataclasses
import os
import sys

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from common.checkpoints import bundle, h5_weights
from common.cli import program, shared_flags
from common.cli.parser import FlagSet, FlagValues
from common.data import images
from common.devices import selection
from common.distributed import processes
from common.errors import FlagError
from common.run.run_dir import RunRequest
from siamese_triplet_tf2 import pairs, pretrained
from siamese_triplet_tf2.recipe import RECIPES, Switches

ROOT = os.path.dirname(os.path.abspath(__file__))
NETWORK = "siamese_network_ID2539_for_TensorFlow2.X"
NPU_PRECISION = "allow_fp32_to_fp16"
BATCH_SIZE = 32
EPOCHS = 10
# flags that may not change when a run is resumed, besides the shared ones and the switches of the recipe
IDENTITY = ("split", "backbone", "batch_statistics", "semi_hard", "loss_scale", "cache_features", "static_shape")


def define_flags() -> FlagSet:
    """Return the flags of training."""
    flags = FlagSet(__doc__ or "")
    shared_flags.define_data(flags, "Folder with left/, right/ and model/, or its parent.")
    shared_flags.define_training(flags, "Triplets", BATCH_SIZE, seed=0, epochs=str(EPOCHS))
    shared_flags.define_steps_per_loop(flags)
    shared_flags.define_accelerator(flags, "--npu_precision_mode")
    flags.accelerator.choice("npu_precision_mode", NPU_PRECISION, shared_flags.PRECISION_MODES, "NPU: precision mode "
                             "if --precision_mode is unset. The scripts set allow_mix_precision, as in the original.")
    flags.accelerator.choice("loss_scale", None, ["none", "dynamic"], "Scaling of the loss for float16.",
                             "dynamic where a GPU mixes in float16, else none")
    flags.data.choice("bad_images", "fail", ["fail", "skip"], "What to do about images that cannot be read: fail, or "
                      "skip their pairs.")
    flags.data.choice("split", "fixed", ["fixed", "redrawn"], "Split into training and validation pairs. redrawn is "
                      "the original's, in which validation pairs have been trained on.")
    shared_flags.define_switches(flags.data, Switches)
    flags.training.choice("cache_features", "auto", ["auto", "memory", "disk", "off"], "Where to keep the output of "
                          "the frozen part of the network.")
    flags.training.boolean("static_shape", False, "Train on full batches only.")
    flags.training.boolean("semi_hard", False, "Choose semi-hard negatives within the batch.")
    flags.model.choice("backbone", "resnet50", ["resnet50", "tiny"], "Network; tiny is for smoke tests.")
    flags.model.string("weights", None, "File with the weights of ResNet50, or none for random ones.",
                       "the file in model/ of the data folder")
    flags.model.boolean("batch_statistics", False, "Normalize with the statistics of the batch in training.")
    processes.define(flags)
    return flags


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Train; return the exit status."""
    flag_set = define_flags()
    flags = flag_set.parse(arguments)
    processes.check(flags)
    folder = shared_flags.find_data_folder(flags.data_path, ROOT, pairs.FOLDER_NAMES, pairs.has_data)
    device = selection.choose(flags.device, os.environ)
    rank = processes.resolve_rank(flags, device.kind)
    if rank.size > 1:
        _check_processes(flags)
    data = pairs.load(folder)
    num_updates, _ = _length(flags, len(data.left))
    request = RunRequest(__file__, NETWORK, arguments, flags, device, flags.npu_precision_mode, num_updates, rank=rank)
    weights_path = pretrained.find(flags.weights, folder, flags.backbone)
    init_prefix = bundle.init_prefix(flags)
    bundle.fingerprint(init_prefix)
    processes.start(flags, [os.path.abspath(__file__), *arguments], device.kind)

    from common.keras.session import open_run  # TensorFlow is imported here, in the processes that train
    from siamese_triplet_tf2 import bad_images, training

    data = bad_images.apply(data, flags.bad_images)
    num_updates, steps_per_epoch = _length(flags, len(data.left))
    request = dataclasses.replace(request, num_updates=num_updates)
    config = training.Config(shared_flags.resolve_switches(RECIPES, flags), steps_per_epoch, weights_path, init_prefix)
    identity = dict(dataclasses.asdict(config.switches), data=data.fingerprint(),
                    weights=h5_weights.fingerprint(weights_path), init_checkpoint=bundle.fingerprint(init_prefix),
                    **{name: flags[name].value for name in IDENTITY})
    files = data.images()
    orientations = [] if config.switches.exif_orientation else images.orientation_notices(
        files.__getitem__, len(files), "--exif_orientation turns them")
    notices = [*flag_set.warnings(), *processes.notices(flags, rank, f"{flags.batch_size} triplets"), *data.notices,
               *orientations, *pretrained.notices(weights_path, flags.backbone),
               f"Data: {folder}, {len(data.left)} pairs",
               f"Backbone: {flags.backbone}, weights {weights_path or 'random'}",
               shared_flags.recipe_notice(flags.recipe, config.switches)]
    with open_run(request, identity, notices) as run:
        training.train(config, data, run, stop)
    return 0


def _check_processes(flags: FlagValues) -> None:
    for name in ("batch_statistics", "semi_hard"):
        if flags[name].value:
            raise FlagError(f"--{name} needs the whole batch, but a process has only a part of it; remove "
                            "--distributed")
    if flags.cache_features == "disk":
        raise FlagError("--cache_features=disk works in one process only; use memory or off, or remove "
                        "--distributed")


def _length(flags: FlagValues, num_pairs: int) -> tuple[int, int]:
    """Return the number of updates of the run, and of an epoch."""
    num_train = int(round(pairs.TRAIN_SHARE * num_pairs))
    steps = num_train // flags.batch_size if flags.static_shape else -(-num_train // flags.batch_size)
    if steps == 0:
        raise FlagError(f"--batch_size={flags.batch_size}: only {num_train} training pairs, too few for a full "
                        "batch; use a smaller one, or --static_shape=false")
    return shared_flags.num_updates(flags, EPOCHS * steps, flags.epochs and flags.epochs * steps), steps


if __name__ == "__main__":
    processes.leave(main())
