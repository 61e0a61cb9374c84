"""The flags of training and what they come to. No TensorFlow."""
from __future__ import annotations

import dataclasses
import sys
from typing import Any

from circleloss_tf1.recipe import IMAGE_SIZE, MODEL_DEFS, RECIPES, Extras, NetworkSettings, Switches, resolve_extras
from common.cli import recipe, shared_flags
from common.cli.parser import FlagSet, FlagValues
from common.errors import FlagError
from common.evaluation import verification

NPU_PRECISION = "allow_mix_precision"
BATCH_SIZE = 30
SEED = 666
OPTIMIZERS = ("ADAGRAD", "ADADELTA", "ADAM", "RMSPROP", "MOM", "GD")
LOWEST = -sys.float_info.max
# flags that a run must share with one it goes on with, besides switches, extra options and data
_IDENTITY = ("model_def", "gamma", "margin", "center_loss_factor", "center_loss_alfa", "prelogits_norm_loss_factor",
             "prelogits_norm_p", "prelogits_hist_max", "dynamic_loss_scale", "optimizer",
             "learning_rate", "learning_rate_decay_epochs", "learning_rate_decay_factor",
             "moving_average_decay", "epoch_size", "sample_with_replacement",
             "class_balanced_sampling", "bad_images", "validation_set_split_ratio", "validate_every_n_epochs",
             "min_nrof_val_images_per_class", "lfw_batch_size", "lfw_nrof_folds", "lfw_distance_metric",
             "lfw_subtract_mean", "lfw_use_flipped_images", "ema_evaluation")
_EXTRAS_TEXT = {
    "image_size": f"side of the input in pixels (unset: {IMAGE_SIZE})",
    "embedding_size": "dimensions of the embedding (unset: the network's own, 512 of resnet34)",
    "keep_probability": "dropout on the embedding in training: share that is kept (unset: 1)",
    "weight_decay": "weight of the L2 penalty on the kernels (unset: 0)",
    "use_fixed_image_standardization": "(x - 127.5) / 128, else each image has mean 0 and deviation 1 (unset: true)",
    "random_crop": "cut the input out of a larger image at random",
    "random_flip": "mirror images at random",
    "random_rotate": "turn images by up to 10 degrees",
}


def define_flags(description: str) -> FlagSet:
    """Return the flags of training."""
    flags = FlagSet(description)
    shared_flags.define_data(flags, "folder that holds MS-Celeb-1M_clean_align and lfw-deepfunneled_align, also under "
                          "dataset/, or a folder per person itself")
    shared_flags.define_output(flags, aliases=["exp_save_dir"])
    shared_flags.define_device(flags)
    shared_flags.define_training(flags, BATCH_SIZE, SEED, NPU_PRECISION)
    _define_data(flags)
    _define_network(flags)
    _define_optimisation(flags)
    define_lfw(flags)
    flags.boolean("ema_evaluation", False, "run LFW with the moving averages of the weights")
    flags.boolean("log_histograms", False, "accepted, no effect")
    for name, reason in (("logs_base_dir", "logs are in the run directory"),
                         ("models_base_dir", "models are in the run directory"),
                         ("gpu_memory_fraction", "memory is taken as it is needed"),
                         ("num_gpus", "Circle loss trains on one device"),
                         ("log_histograms", "--data_dump_flag writes tensors"),
                         ("static_shape", "Circle loss trains and evaluates on full batches always")):
        flags.without_effect(name, reason)
    return flags


def _define_data(flags: FlagSet) -> None:
    flags.string("data_dir", None, "folder per person to train on; wins over data_path")
    flags.integer("epoch_size", 1000, "batches in an epoch", 1)
    flags.boolean("sample_with_replacement", False, "let an epoch draw an image more than once")
    flags.boolean("class_balanced_sampling", False, "draw a person, then one of the person's images")
    flags.choice("bad_images", "error", ["error", "skip"], "an image that cannot be read ends the run, or another one "
                 "takes its place")
    flags.number("validation_set_split_ratio", 0.0, "share of every person's images to validate on")
    flags.integer("validate_every_n_epochs", 5, "epochs between validations", 1)
    flags.integer("min_nrof_val_images_per_class", 0, "people who would keep fewer images for training are not "
                  "validated")
    flags.string("filter_filename", None, "HDF5 file with distance_to_center and image_list; drops the images that lie "
                 "far from the center of their class")
    flags.number("filter_percentile", 100.0, "drop images at or above this percentile of the distances")
    flags.integer("filter_min_nrof_images_per_class", 0, "people who keep fewer images are dropped")
    flags.integer("nrof_preprocess_threads", 4, "images decoded at a time", 1, 256)


def _define_network(flags: FlagSet) -> None:
    flags.choice("model_def", MODEL_DEFS[0], MODEL_DEFS, "the network; resnet10 has about 1/50 of the work")
    flags.number("gamma", 256.0, "scale of the circle loss")
    flags.number("margin", 0.25, "relaxation of the circle loss")
    recipe.define(flags, Switches)
    for field in dataclasses.fields(Extras):
        name = field.name
        if isinstance(field.default, bool):
            flags.boolean(name, None, _EXTRAS_TEXT[name])
        elif isinstance(field.default, int):
            flags.integer(name, None, _EXTRAS_TEXT[name], 32 if name == "image_size" else 1, 4096)
        else:
            flags.number(name, None, _EXTRAS_TEXT[name])


def _define_optimisation(flags: FlagSet) -> None:
    shared_flags.define_loss_scale(flags)
    flags.choice("optimizer", "ADAM", OPTIMIZERS, "optimiser; all take the decayed learning rate")
    flags.number("learning_rate", 0.1, "initial learning rate; 0 or less takes it from the schedule file", LOWEST)
    flags.string("learning_rate_schedule_file", "data/learning_rate_schedule.txt", "lines `epoch: rate`")
    flags.integer("learning_rate_decay_epochs", 300, "epochs between decays", 1, aliases=["lr_decay_epochs"])
    flags.number("learning_rate_decay_factor", 0.1, "factor of a decay")
    flags.number("moving_average_decay", 0.9999, "decay of the moving averages of the weights")
    flags.number("center_loss_factor", 0.0, "weight of the center loss")
    flags.number("center_loss_alfa", 0.95, "centers move by 1 - alfa of their distance")
    flags.number("prelogits_norm_loss_factor", 0.0, "weight of the norm penalty")
    flags.number("prelogits_norm_p", 1.0, "order of its norm")
    flags.number("prelogits_hist_max", 10.0, "largest value of the histogram of |prelogits|")


def define_lfw(flags: FlagSet) -> None:
    """The flags of the verification on LFW; evaluate has them too."""
    flags.string("lfw_dir", None, "folder per person of LFW; wins over data_path")
    flags.string("lfw_pairs", None, "pairs.txt (unset: looked for beside the LFW folder, in it, and in data/)")
    flags.integer("lfw_batch_size", 30, "images in a batch", 1, shared_flags.MAX_BATCH_SIZE)
    flags.integer("lfw_nrof_folds", 10, "folds of the protocol", 2)
    flags.choice("lfw_distance_metric", "0", [str(metric) for metric in verification.METRICS],
                 "0 squared Euclidean, 1 angle")
    flags.boolean("lfw_subtract_mean", False, "subtract the mean embedding of the training folds")
    flags.boolean("lfw_use_flipped_images", False, "average the embeddings of an image and its mirror image")
    flags.choice("lfw_missing", "strict", ["strict", "skip"], "a missing image is an error, or leaves its pair out")


def resolve(flags: FlagValues) -> tuple[Switches, Extras, list[str]]:
    """Return switches and options in effect, and warnings about options given in vain.

    Raises:
        FlagError: a value out of range.
    """
    for name, low, high in (("validation_set_split_ratio", 0.0, 0.99), ("filter_percentile", 0.0, 100.0),
                            ("moving_average_decay", 0.0, 1.0), ("center_loss_alfa", 0.0, 1.0)):
        if not low <= flags[name].value <= high:
            raise FlagError(f"--{name}={flags[name].value}: expected {low} to {high}")
    for name in ("gamma", "prelogits_norm_p", "prelogits_hist_max"):
        if not flags[name].value > 0.0:
            raise FlagError(f"--{name}={flags[name].value}: expected above 0")
    if flags.filter_filename is None and flags.filter_percentile != 100.0:
        raise FlagError("--filter_percentile needs --filter_filename")
    switches = recipe.resolve(RECIPES, flags)
    given = {field.name: flags[field.name].value for field in dataclasses.fields(Extras) if flags[field.name].present}
    extras, warnings = resolve_extras(given, switches)
    return switches, extras, warnings


def network_settings(flags: FlagValues, switches: Switches, extras: Extras) -> NetworkSettings:
    """The network that the flags ask for."""
    return NetworkSettings(flags.model_def, switches, extras)


def sampling(flags: FlagValues) -> str:
    """Mode of `faces.Sampler`."""
    if flags.class_balanced_sampling:
        return "class_balanced"
    return "with_replacement" if flags.sample_with_replacement else "without_replacement"


def identity(flags: FlagValues) -> dict[str, Any]:
    """What the flags add to what a run must share with one it goes on with."""
    return {name: flags[name].value for name in _IDENTITY}
