"""Circle loss for face recognition (arXiv 2002.10857): train a residual network on people, verify it on LFW.

    python3 circleloss_tf1/train_acc.py --data_path=FOLDER

FOLDER holds MS-Celeb-1M_clean_align, a folder of images per person, and, to verify on, lfw-deepfunneled_align with
pairs.txt. LFW accuracy after 500 epochs on MS-Celeb-1M: 0.951 on an NPU, 0.948 on a GPU (published).
"""
from __future__ import annotations

import dataclasses
import os
import sys
from typing import TYPE_CHECKING

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from circleloss_tf1 import command_line
from common.checkpoints import bundle
from common.cli import program, recipe, shared_flags
from common.cli.parser import FlagSet, FlagValues
from common.data import images
from common.devices import selection
from common.distributed import processes
from common.run.run_dir import RunRequest

if TYPE_CHECKING:
    from circleloss_tf1 import training
    from circleloss_tf1.recipe import NetworkSettings

ROOT = os.path.dirname(os.path.abspath(__file__))
NETWORK = "CircleLoss_ID1221_for_TensorFlow"
NUM_EPOCHS = 500


def define_flags() -> FlagSet:
    """Return the flags of training."""
    return command_line.define_flags(__doc__ or "")


def num_updates(flags: FlagValues) -> int:
    """Return the updates to make: the smallest of the limits that were given, or the default."""
    return shared_flags.num_updates(flags, NUM_EPOCHS * flags.epoch_size,
                                    flags.epochs and flags.epochs * flags.epoch_size)


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Train; return the exit status."""
    from circleloss_tf1 import data_folders
    from circleloss_tf1.faces import Sampler

    flag_set = define_flags()
    flags = flag_set.parse(arguments)
    switches, extras, warnings = command_line.resolve(flags)
    processes.check(flags)
    faces_folder, lfw_folder = data_folders.find_faces(flags, ROOT), data_folders.find_lfw(flags, ROOT)
    faces, split = data_folders.load_faces(flags, faces_folder)
    updates = num_updates(flags)
    pairs, pairs_notices = data_folders.load_pairs(flags, lfw_folder, ROOT)
    device = selection.choose(flags.device, os.environ)
    rank = processes.resolve_rank(flags, device.kind)
    sampler = Sampler(faces.labels[split.train], min(flags.epoch_size, updates) * flags.batch_size,
                      command_line.sampling(flags), flags.seed, rank, flags.batch_size)
    request = RunRequest(__file__, NETWORK, arguments, flags, device, command_line.NPU_PRECISION, updates, rank=rank)
    processes.start(flags, [os.path.abspath(__file__), *arguments], device.kind)

    from circleloss_tf1 import training  # TensorFlow is imported here, after the flags and the device
    from common.graph import workers
    from common.graph.session import open_run

    config = _configure(request, len(faces.people), command_line.network_settings(flags, switches, extras))
    identity = dict(dataclasses.asdict(switches), **dataclasses.asdict(extras), **command_line.identity(flags),
                    num_classes=len(faces.people), data=faces.fingerprint, lfw=data_folders.fingerprint(pairs),
                    init_checkpoint=bundle.fingerprint(config.init_checkpoint))
    if not switches.exif_orientation:
        warnings += images.orientation_notices(faces.path, len(faces), "--exif_orientation turns them")
    notices = [*flag_set.warnings(), *processes.notices(flags, rank, f"{flags.batch_size} images"), *warnings,
               *faces.notices, f"Data: {faces_folder}, {len(faces.people)} people, "
               f"{len(split.train)} training and {len(split.validation)} validation images", *pairs_notices,
               f"Network: {flags.model_def} | {recipe.notice(flags.recipe, switches)}"]
    workers.meet(request)
    with open_run(request, identity, notices) as run:
        training.train(config, training.Data(faces, split, sampler, pairs), run, stop)
    return 0


def _configure(request: RunRequest, num_classes: int, network: NetworkSettings) -> training.Config:
    from circleloss_tf1 import evaluation, facenet, model, training
    from common.graph import npu

    flags, schedule = request.flags, None
    if flags.learning_rate <= 0.0:
        schedule = facenet.Schedule(shared_flags.find_path("learning_rate_schedule_file",
                                                           flags.learning_rate_schedule_file, ROOT))
    loss = model.LossSettings(**{field.name: flags[field.name].value
                                 for field in dataclasses.fields(model.LossSettings)})
    step = facenet.StepSettings(flags.optimizer, flags.learning_rate_decay_epochs * flags.epoch_size,
                                flags.learning_rate_decay_factor, flags.moving_average_decay,
                                npu.scales_losses(request.device, flags.dynamic_loss_scale))
    return training.Config(
        graph=model.TrainSettings(flags.batch_size, num_classes, network, loss, step, flags.seed),
        lfw=evaluation.LfwSettings.from_flags(flags), schedule=schedule, init_checkpoint=bundle.init_prefix(flags))


if __name__ == "__main__":
    processes.leave(main())
