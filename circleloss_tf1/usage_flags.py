"""The flags of programs that use trained weights, and the checkpoint that they choose."""
from __future__ import annotations

from circleloss_tf1 import lfw
from circleloss_tf1.faces import ROOT
from circleloss_tf1.recipe import MODEL_DEFS, Switches
from common.checkpoints import trained
from common.cli import shared_flags
from common.cli.parser import FlagSet, FlagValues
from common.errors import ZooError

_OF_RUN = ("lfw_batch_size", "lfw_nrof_folds", "lfw_distance_metric", "lfw_subtract_mean", "lfw_use_flipped_images",
           "ema_evaluation")


def define(flags: FlagSet, with_device: bool = True) -> None:
    """Define the flags that choose a checkpoint and say how its network is used."""
    trained.define_flags(flags, with_device)
    flags.model.choice("model_def", None, MODEL_DEFS, "Network of the checkpoint.", "the run's")
    names = ("batch_norm", "jpeg_decoding") if with_device else ("batch_norm",)
    shared_flags.define_switches(flags.model, Switches, names, "the run's")
    flags.model.boolean("ema_evaluation", False, "Use the moving averages of the weights.")


def define_lfw(flags: FlagSet) -> None:
    """Define the flags of programs that read LFW."""
    shared_flags.define_data(flags, "Folder with lfw-deepfunneled_align.", "required without --lfw_dir")
    lfw.define_flags(flags)


def define_far(flags: FlagSet, default: float | None, unset: str = "none") -> None:
    """Define the false accept rate that a threshold is chosen for."""
    flags.evaluation.number("far", default, "False accept rate that the threshold is chosen for.", unset=unset,
                            maximum=1.0)


def choose(flags: FlagValues, program: str) -> trained.Checkpoint:
    """Choose the checkpoint that the flags name; flags that were not given take the values of its run."""
    checkpoint = trained.choose(flags, ROOT, program)
    take_from_run(flags, checkpoint)
    return checkpoint


def take_from_run(flags: FlagValues, checkpoint: trained.Checkpoint) -> None:
    """Set flags that were not given to the values of the checkpoint's run."""
    identity = checkpoint.run_identity()
    for name in _OF_RUN:
        if name in flags and not flags[name].present and name in identity:
            flags[name].value = identity[name]


def require_pairs(flags: FlagValues) -> lfw.Pairs:
    """Find LFW and read its pairs; ZooError if it is missing."""
    folder = lfw.find_folder(flags)
    if folder is None:
        shared_flags.find_path("data_path", flags.data_path, ROOT)
        raise ZooError(f"--data_path={flags.data_path}: holds no lfw-deepfunneled_align; give --lfw_dir=FOLDER")
    return lfw.find_pairs(flags, folder)
