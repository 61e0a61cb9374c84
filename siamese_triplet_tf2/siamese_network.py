"""Image similarity with the triplet loss: which right image looks like a left one, on Totally Looks Like.

    python3 siamese_triplet_tf2/siamese_network.py --data_path=FOLDER

FOLDER holds left/ and right/, images that look alike under the same name, and model/ with ResNet50's weights; or a
folder totally_looks_like with them.
"""
from __future__ import annotations

import dataclasses
import os
import sys
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from common.checkpoints import bundle, h5_weights
from common.cli import program, recipe, shared_flags
from common.cli.parser import FlagSet, FlagValues
from common.devices import ranks, selection
from common.distributed import launcher, processes
from common.errors import FlagError
from siamese_triplet_tf2.recipe import RECIPES, Switches

if TYPE_CHECKING:
    from siamese_triplet_tf2 import pairs, training

ROOT = os.path.dirname(os.path.abspath(__file__))
NETWORK = "siamese_network_ID2539_for_TensorFlow2.X"
NPU_PRECISION = "allow_fp32_to_fp16"
BATCH_SIZE = 32
EPOCHS = 10
PERFORMANCE_UPDATES = 100
# flags that a run must share with one it goes on with, besides the shared ones and the recipe's switches
IDENTITY = ("split", "backbone", "batch_statistics", "semi_hard", "loss_scale", "cache_features", "static_shape")


def define_flags() -> FlagSet:
    """Return the flags of training."""
    flags = FlagSet(__doc__ or "")
    shared_flags.define_data(flags, "Folder with left/, right/ and model/, or its parent.")
    shared_flags.define_training(flags, "Triplets", BATCH_SIZE, seed=0, epochs=str(EPOCHS))
    shared_flags.define_accelerator(flags, "--npu_precision_mode")
    flags.accelerator.choice("npu_precision_mode", NPU_PRECISION, shared_flags.PRECISION_MODES, "NPU: precision mode "
                             "if --precision_mode is unset. The scripts take allow_mix_precision, as the original's.")
    flags.accelerator.choice("loss_scale", None, ["none", "dynamic"], "Scaling of the loss for float16.",
                             "dynamic where a GPU mixes in float16, else none")
    flags.data.choice("bad_images", "fail", ["fail", "skip"], "Images that cannot be read end the run, or their pairs "
                      "are left out.")
    flags.data.choice("split", "fixed", ["fixed", "redrawn"], "Split into training and validation pairs. redrawn is "
                      "the original's, in which validation pairs have been trained on.")
    recipe.define(flags.data, Switches)
    flags.training.choice("cache_features", "auto", ["auto", "memory", "disk", "off"], "Where to keep the output of "
                          "the frozen part of the network.")
    flags.training.boolean("static_shape", False, "Train on full batches only.")
    flags.training.boolean("semi_hard", False, "Choose semi-hard negatives within the batch.")
    flags.model.choice("backbone", "resnet50", ["resnet50", "tiny"], "Network; tiny is for smoke runs.")
    flags.model.string("weights", None, "File with the weights of ResNet50, or none for random ones.",
                       "the file in model/ of the data folder")
    flags.model.boolean("batch_statistics", False, "Normalize with the statistics of the batch in training.")
    processes.define(flags)
    return flags


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Train; return the exit status."""
    from common.run import setup
    from siamese_triplet_tf2 import pairs, pretrained

    flag_set = define_flags()
    flags = flag_set.parse(arguments)
    processes.check(flags)
    data_path = shared_flags.require_data_path(flags.data_path)
    folder = shared_flags.find_data_folder(data_path, ROOT, pairs.FOLDER_NAMES, pairs.has_data)
    device = selection.choose(flags.device, os.environ)
    rank = processes.place(flags, device.kind)
    _check_processes(flags, rank)
    data = pairs.load(folder)
    entry = setup.Entry(__file__, NETWORK, flags.npu_precision_mode, arguments, rank=rank)
    setup.plan(entry, flags, device, _length(flags, len(data.left))[0])
    pretrained.find(flags.weights, folder, flags.backbone)
    bundle.fingerprint(_init_checkpoint(flags))
    status = processes.start(flags, [os.path.abspath(__file__), *arguments], device.kind, stop)
    if status is not None:
        return status

    from common.keras import session
    from siamese_triplet_tf2 import bad_images

    session.require_one_gpu(rank, device.kind)
    data = bad_images.apply(data, flags.bad_images)
    config = _configure(flags, folder, len(data.left), rank)
    identity = dict(dataclasses.asdict(config.switches), data=data.fingerprint(),
                    weights=h5_weights.fingerprint(config.weights),
                    init_checkpoint=bundle.fingerprint(config.init_checkpoint),
                    **{name: flags[name].value for name in IDENTITY})
    notices = [*flag_set.warnings(), *processes.notices(flags, rank, f"{flags.batch_size} triplets"), *data.notices,
               *pretrained.notices(config.weights, flags.backbone),
               f"Data: {folder}, {len(data.left)} pairs",
               f"Backbone: {flags.backbone}, weights {config.weights or 'random'}",
               recipe.notice(flags.recipe, config.switches)]
    opened = session.open_keras_run if rank.is_chief else session.open_keras_helper
    with opened(entry, flags, device, config.num_updates, identity, notices) as run:
        _run(config, data, run, rank, stop)
    return 0


def _run(config: training.Config, data: pairs.Pairs, run: Any, rank: ranks.Rank, stop: program.StopRequest) -> None:
    from common.keras import debug, workers
    from siamese_triplet_tf2 import recording, training

    workers = workers.make(rank, run.device.kind)
    workers.require_same(run.checksum)
    record = recording.Record(config, len(data.left), run, stop) if rank.is_chief else \
        recording.Helper(config, len(data.left))
    with debug.diagnosed(run.diagnosis, config.num_updates) as diagnosis:
        training.Loop(config, data, workers, run, diagnosis).run(record, stop)


def _check_processes(flags: FlagValues, rank: ranks.Rank) -> None:
    if rank.size == 1:
        return
    for name in ("batch_statistics", "semi_hard"):
        if flags[name].value:
            raise FlagError(f"--{name} looks at the whole batch, of which a process sees a part: leave --distributed "
                            "away")
    if flags.cache_features == "disk":
        raise FlagError("--cache_features=disk keeps the features of one process: take memory or off, or leave "
                        "--distributed away")


def _init_checkpoint(flags: FlagValues) -> str | None:
    return flags.init_checkpoint and bundle.prefix_of(flags.init_checkpoint)


def _length(flags: FlagValues, num_pairs: int) -> tuple[int, int]:
    """Updates to make, and updates in an epoch."""
    from siamese_triplet_tf2 import pairs

    num_train = int(round(pairs.TRAIN_SHARE * num_pairs))
    steps = num_train // flags.batch_size if flags.static_shape else -(-num_train // flags.batch_size)
    if steps == 0:
        raise FlagError(f"--batch_size={flags.batch_size}: only {num_train} pairs train, too few for a full batch; "
                        "take a smaller one, or --static_shape=false")
    limits = [limit for limit in (flags.train_steps, flags.epochs and flags.epochs * steps) if limit]
    return min(limits) if limits else PERFORMANCE_UPDATES if flags.performance else EPOCHS * steps, steps


def _configure(flags: FlagValues, folder: str, num_pairs: int, rank: ranks.Rank) -> training.Config:
    from common.run import metrics
    from siamese_triplet_tf2 import pretrained, training

    num_updates, steps = _length(flags, num_pairs)
    return training.Config(
        case=metrics.Case(NETWORK, flags.batch_size, rank.size, flags.performance),
        switches=recipe.resolve(RECIPES, flags),
        batch_size=flags.batch_size,
        seed=flags.seed,
        num_updates=num_updates,
        steps_per_epoch=steps,
        split=flags.split,
        backbone=flags.backbone,
        weights=pretrained.find(flags.weights, folder, flags.backbone),
        batch_statistics=flags.batch_statistics,
        semi_hard=flags.semi_hard,
        loss_scale=flags.loss_scale,
        cache_features=flags.cache_features,
        processes=flags.nproc_per_node,
        static_shape=flags.static_shape,
        performance=flags.performance,
        save_seconds=60.0 * flags.save_minutes,
        init_checkpoint=_init_checkpoint(flags),
    )


if __name__ == "__main__":
    launcher.leave(main())
