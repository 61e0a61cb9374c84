"""The flags of training, and the settings that they stand for."""
from __future__ import annotations

import dataclasses
from typing import Any

from circleloss_tf1.recipe import IMAGE_SIZE, MODEL_DEFS, RECIPES, Extras, NetworkSettings, Switches, resolve_extras
from common.cli import recipe, shared_flags
from common.cli.parser import FlagSet, FlagValues, Group
from common.distributed import processes
from common.errors import FlagError
from common.evaluation import verification

NPU_PRECISION = "allow_mix_precision"
BATCH_SIZE = 30
SEED = 666
OPTIMIZERS = ("ADAGRAD", "ADADELTA", "ADAM", "RMSPROP", "MOM", "GD")
# flags that must be the same when a run is resumed, besides switches, extra options and data
_IDENTITY = ("model_def", "gamma", "margin", "center_loss_factor", "center_loss_alfa", "prelogits_norm_loss_factor",
             "prelogits_norm_p", "prelogits_hist_max", "dynamic_loss_scale", "optimizer",
             "learning_rate", "learning_rate_decay_epochs", "learning_rate_decay_factor",
             "moving_average_decay", "epoch_size", "sample_with_replacement",
             "class_balanced_sampling", "bad_images", "validation_set_split_ratio", "validate_every_n_epochs",
             "min_nrof_val_images_per_class", "lfw_batch_size", "lfw_nrof_folds", "lfw_distance_metric",
             "lfw_subtract_mean", "lfw_use_flipped_images", "ema_evaluation")
_EXTRAS_TEXT = {  # text, and what it means that the flag is unset
    "image_size": ("Side of the input in pixels.", str(IMAGE_SIZE)),
    "embedding_size": ("Dimensions of the embedding.", "the network's own, 512 of resnet34"),
    "keep_probability": ("Share of the embedding that dropout keeps in training.", "1.0"),
    "weight_decay": ("Weight of the L2 penalty on kernels.", "0.0"),
    "use_fixed_image_standardization": ("Scale images as (x - 127.5) / 128; false gives each image mean 0 and "
                                        "deviation 1.", "True"),
    "random_crop": ("Cut the input out of a larger image at random.", "False"),
    "random_flip": ("Mirror images at random.", "False"),
    "random_rotate": ("Rotate images by up to 10 degrees at random.", "False"),
}


def define_flags(description: str) -> FlagSet:
    """Return the flags of training."""
    flags = FlagSet(description)
    shared_flags.define_data(flags, "Folder with MS-Celeb-1M_clean_align and lfw-deepfunneled_align, also below "
                             "dataset/, or with a folder per person.", "required without --data_dir")
    shared_flags.define_training(flags, "Images", BATCH_SIZE, SEED, epochs="500")
    shared_flags.define_accelerator(flags, NPU_PRECISION)
    shared_flags.define_loss_scale(flags)
    processes.define(flags)
    _define_data(flags)
    _define_optimization(flags.training)
    flags.alias("learning_rate_decay_epochs", "lr_decay_epochs")
    _define_model(flags.model)
    define_lfw(flags)
    flags.evaluation.boolean("ema_evaluation", False, "Verify on LFW with the moving averages of the weights.")
    _define_validation(flags.evaluation)
    flags.ignored.boolean("static_shape", False, "Circle loss uses full batches only.")
    flags.ignored.boolean("log_histograms", False, "--data_dump_flag writes tensors.")
    for name, reason in (("logs_base_dir", "Logs are in the run directory."),
                         ("models_base_dir", "Models are in the run directory."),
                         ("gpu_memory_fraction", "Memory is taken as needed."),
                         ("num_gpus", "See --nproc_per_node.")):
        flags.ignored.string(name, None, reason)
    return flags


def _define_data(flags: FlagSet) -> None:
    flags.data.string("data_dir", None, "Folder with a folder per person to train on; wins over --data_path.",
                      "found in --data_path")
    flags.data.string("face_index", None, "File that keeps the list of the training images, so that later runs start "
                      "sooner.")
    flags.data.choice("bad_images", "error", ["error", "skip"], "An image that cannot be read ends the run, or is "
                      "replaced by another one.")
    flags.data.integer("nrof_preprocess_threads", 4, "Threads that decode images.", 1, 256)
    flags.data.string("filter_filename", None, "HDF5 file with distance_to_center and image_list; images far from the "
                      "center of their class are left out.")
    flags.data.number("filter_percentile", 100.0, "Leave out images at or above this percentile of the distances.")
    flags.data.integer("filter_min_nrof_images_per_class", 0, "Leave out people who keep fewer images than this.")


def _define_optimization(training: Group) -> None:
    training.integer("epoch_size", 1000, "Batches in an epoch.", 1)
    training.boolean("sample_with_replacement", False, "Allow an epoch to draw an image more than once.")
    training.boolean("class_balanced_sampling", False, "Draw a person first, then one of that person's images.")
    training.choice("optimizer", "ADAM", OPTIMIZERS, "Optimizer.")
    training.number("learning_rate", 0.1, "Initial learning rate; 0 or less reads it from the schedule file.", None)
    training.string("learning_rate_schedule_file", "data/learning_rate_schedule.txt", "File with lines `epoch: rate`; "
                    "`epoch: -` ends the run.")
    training.integer("learning_rate_decay_epochs", 300, "Epochs between decays of the learning rate.", 1)
    training.number("learning_rate_decay_factor", 0.1, "Factor of a decay.")
    training.number("moving_average_decay", 0.9999, "Decay of the moving averages of the weights.")


def _define_model(model: Group) -> None:
    model.choice("model_def", MODEL_DEFS[0], MODEL_DEFS, "Network; resnet10 computes about 1/50 of resnet34.")
    model.number("gamma", 256.0, "Scale of the circle loss.")
    model.number("margin", 0.25, "Relaxation of the circle loss.")
    recipe.define(model, Switches)
    model.number("center_loss_factor", 0.0, "Weight of the center loss.")
    model.number("center_loss_alfa", 0.95, "A center moves by 1 - alfa of the distance to its features.")
    model.number("prelogits_norm_loss_factor", 0.0, "Weight of the penalty on the norm of the embedding.")
    model.number("prelogits_norm_p", 1.0, "Order of that norm.")
    model.number("prelogits_hist_max", 10.0, "Upper end of the embedding's histogram in stat.h5.")
    for field in dataclasses.fields(Extras):
        name, (text, unset) = field.name, _EXTRAS_TEXT[field.name]
        if isinstance(field.default, bool):
            model.boolean(name, None, text, unset)
        elif isinstance(field.default, int):
            model.integer(name, None, text, 32 if name == "image_size" else 1, 4096, unset)
        else:
            model.number(name, None, text, unset=unset)


def define_lfw(flags: FlagSet) -> None:
    """The flags of the verification on LFW; evaluate has them too."""
    flags.data.string("lfw_dir", None, "LFW folder, with a folder per person; wins over --data_path.",
                      "found in --data_path")
    flags.data.string("lfw_pairs", None, "LFW's pairs.txt; for evaluate.py also a verification set of "
                      "insightface, such as cfp_fp.bin.", "found beside the LFW folder, in it or in data/")
    flags.evaluation.integer("lfw_batch_size", 30, "LFW images per batch.", 1, shared_flags.MAX_BATCH_SIZE)
    flags.evaluation.integer("lfw_nrof_folds", 10, "Folds of the cross-validation.", 2)
    flags.evaluation.choice("lfw_distance_metric", "0", [str(metric) for metric in verification.METRICS],
                            "Distance of embeddings: 0 is squared Euclidean, 1 is the angle.")
    flags.evaluation.boolean("lfw_subtract_mean", False, "Subtract the mean embedding of the training folds.")
    flags.evaluation.boolean("lfw_use_flipped_images", False, "Average the embeddings of an image and of its "
                             "mirror image.")
    flags.evaluation.choice("lfw_missing", "strict", ["strict", "skip"], "A missing image is an error, or its pair is "
                            "left out.")


def _define_validation(evaluation: Group) -> None:
    evaluation.number("validation_set_split_ratio", 0.0, "Share of each person's images to validate on.")
    evaluation.integer("validate_every_n_epochs", 5, "Epochs between validations.", 1)
    evaluation.integer("min_nrof_val_images_per_class", 0, "Do not validate on people who would keep fewer images than "
                       "this to train on.")


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
            raise FlagError(f"--{name}={flags[name].value}: expected a number above 0")
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
    """Return the flags that must be the same when a run is resumed."""
    return {name: flags[name].value for name in _IDENTITY}
