"""Circle loss for face recognition (arXiv 2002.10857): train a residual network on people, verify it on LFW.

    python3 circleloss_tf1/train_acc.py --data_path=FOLDER

FOLDER holds MS-Celeb-1M_clean_align, a folder of images per person, and, to verify on, lfw-deepfunneled_align with
pairs.txt. LFW accuracy after 500 epochs on MS-Celeb-1M: 0.951 on an NPU, 0.948 on a GPU (published).
"""
from __future__ import annotations

import dataclasses
import os
import sys

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from circleloss_tf1 import faces as face_data
from circleloss_tf1 import lfw
from circleloss_tf1.faces import ROOT, Sampler
from circleloss_tf1.recipe import IMAGE_SIZE, MODEL_DEFS, RECIPES, Extras, NetworkSettings, Switches
from common.checkpoints import bundle
from common.cli import program, shared_flags
from common.cli.parser import FlagSet, FlagValues, Group
from common.data import images
from common.devices import selection
from common.distributed import processes
from common.errors import FlagError
from common.run.run_dir import RunRequest

NETWORK = "CircleLoss_ID1221_for_TensorFlow"
NPU_PRECISION = "allow_mix_precision"
BATCH_SIZE = 30
SEED = 666
NUM_EPOCHS = 500
OPTIMIZERS = ("ADAGRAD", "ADADELTA", "ADAM", "RMSPROP", "MOM", "GD")
# flags that must be the same when a run is resumed, besides switches, extra options and data
_IDENTITY = ("model_def", "gamma", "margin", "center_loss_factor", "center_loss_alfa", "prelogits_norm_loss_factor",
             "prelogits_norm_p", "prelogits_hist_max", "dynamic_loss_scale", "optimizer",
             "learning_rate", "learning_rate_decay_epochs", "learning_rate_decay_factor",
             "moving_average_decay", "epoch_size", "sample_with_replacement",
             "class_balanced_sampling", "bad_images", "validation_set_split_ratio", "validate_every_n_epochs",
             "min_nrof_val_images_per_class", "lfw_batch_size", "lfw_nrof_folds", "lfw_distance_metric",
             "lfw_subtract_mean", "lfw_use_flipped_images", "ema_evaluation")


def define_flags() -> FlagSet:
    """Return the flags of training."""
    flags = FlagSet(__doc__ or "")
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
    lfw.define_flags(flags)
    flags.evaluation.boolean("ema_evaluation", False, "Verify on LFW with the moving averages of the weights.")
    flags.evaluation.number("validation_set_split_ratio", 0.0, "Share of each person's images to validate on.",
                            maximum=0.99)
    flags.evaluation.integer("validate_every_n_epochs", 5, "Epochs between validations.", 1)
    flags.evaluation.integer("min_nrof_val_images_per_class", 0, "Do not validate on people who would keep fewer "
                             "images than this to train on.")
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
    flags.data.number("filter_percentile", 100.0, "Leave out images at or above this percentile of the distances.",
                      maximum=100.0)
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
    training.number("moving_average_decay", 0.9999, "Decay of the moving averages of the weights.", maximum=1.0)


def _define_model(model: Group) -> None:
    model.choice("model_def", MODEL_DEFS[0], MODEL_DEFS, "Network; resnet10 computes about 1/50 of resnet34.")
    model.number("gamma", 256.0, "Scale of the circle loss.")
    model.number("margin", 0.25, "Relaxation of the circle loss.")
    shared_flags.define_switches(model, Switches)
    model.number("center_loss_factor", 0.0, "Weight of the center loss.")
    model.number("center_loss_alfa", 0.95, "A center moves by 1 - alfa of the distance to its features.",
                 maximum=1.0)
    model.number("prelogits_norm_loss_factor", 0.0, "Weight of the penalty on the norm of the embedding.")
    model.number("prelogits_norm_p", 1.0, "Order of that norm.")
    model.number("prelogits_hist_max", 10.0, "Upper end of the embedding's histogram in stat.h5.")
    # Extras
    model.integer("image_size", None, "Side of the input in pixels.", 32, 4096, str(IMAGE_SIZE))
    model.integer("embedding_size", None, "Dimensions of the embedding.", 1, 4096, "the network's own, 512 of resnet34")
    model.number("keep_probability", None, "Share of the embedding that dropout keeps in training.", unset="1.0",
                 maximum=1.0)
    model.number("weight_decay", None, "Weight of the L2 penalty on kernels.", unset="0.0")
    model.boolean("use_fixed_image_standardization", None, "Scale images as (x - 127.5) / 128; false gives each image "
                  "mean 0 and deviation 1.", "True")
    model.boolean("random_crop", None, "Cut the input out of a larger image at random.", "False")
    model.boolean("random_flip", None, "Mirror images at random.", "False")
    model.boolean("random_rotate", None, "Rotate images by up to 10 degrees at random.", "False")


def num_updates(flags: FlagValues) -> int:
    """Return the updates to make: the smallest of the limits that were given, or the default."""
    return shared_flags.num_updates(flags, NUM_EPOCHS * flags.epoch_size,
                                    flags.epochs and flags.epochs * flags.epoch_size)


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Train; return the exit status."""
    flag_set = define_flags()
    flags = flag_set.parse(arguments)
    network, warnings = _network(flags)
    processes.check(flags)
    faces_folder, lfw_folder = face_data.find_folder(flags), lfw.find_folder(flags)
    faces, split = face_data.load(flags, faces_folder)
    updates = num_updates(flags)
    pairs, pairs_notices = lfw.load_pairs(flags, lfw_folder)
    device = selection.choose(flags.device, os.environ)
    rank = processes.resolve_rank(flags, device.kind)
    sampling = ("class_balanced" if flags.class_balanced_sampling else
                "with_replacement" if flags.sample_with_replacement else "without_replacement")
    sampler = Sampler(faces.labels[split.train], min(flags.epoch_size, updates) * flags.batch_size, sampling,
                      flags.seed, rank, flags.batch_size)
    request = RunRequest(__file__, NETWORK, arguments, flags, device, NPU_PRECISION, updates, rank=rank)
    processes.start(flags, [os.path.abspath(__file__), *arguments], device.kind)

    from circleloss_tf1 import facenet, training  # TensorFlow is imported here, after the flags and the device
    from common.graph import workers
    from common.graph.session import open_run

    rate = (lambda epoch: flags.learning_rate) if flags.learning_rate > 0.0 else facenet.Schedule(
        shared_flags.find_path("learning_rate_schedule_file", flags.learning_rate_schedule_file, ROOT)).rate
    init_checkpoint = bundle.init_prefix(flags)
    identity = dict(dataclasses.asdict(network.switches), **dataclasses.asdict(network.extras),
                    **{name: flags[name].value for name in _IDENTITY}, num_classes=len(faces.people),
                    data=faces.fingerprint, lfw=lfw.fingerprint(pairs),
                    init_checkpoint=bundle.fingerprint(init_checkpoint))
    if not network.switches.exif_orientation:
        warnings += images.orientation_notices(faces.path, len(faces), "--exif_orientation turns them")
    notices = [*flag_set.warnings(), *processes.notices(flags, rank, f"{flags.batch_size} images"), *warnings,
               *faces.notices, f"Data: {faces_folder}, {len(faces.people)} people, "
               f"{len(split.train)} training and {len(split.validation)} validation images", *pairs_notices,
               f"Network: {flags.model_def} | {shared_flags.recipe_notice(flags.recipe, network.switches)}"]
    workers.meet(request)
    with open_run(request, identity, notices) as run:
        training.train(training.Inputs(network, faces, split, sampler, pairs, rate, init_checkpoint), run, stop)
    return 0


def _network(flags: FlagValues) -> tuple[NetworkSettings, list[str]]:
    """Return the network, and warnings about options given in vain; FlagError if a value is out of range."""
    for name in ("gamma", "prelogits_norm_p", "prelogits_hist_max", "keep_probability"):
        if flags[name].value == 0.0:
            raise FlagError(f"--{name}={flags[name].value}: expected a number above 0")
    if flags.filter_filename is None and flags.filter_percentile != 100.0:
        raise FlagError("--filter_percentile needs --filter_filename")
    switches = shared_flags.resolve_switches(RECIPES, flags)
    given = {field.name: flags[field.name].value for field in dataclasses.fields(Extras) if flags[field.name].present}
    if switches.extra_options:
        return NetworkSettings(flags.model_def, switches, Extras(**given)), []
    return NetworkSettings(flags.model_def, switches, Extras()), [
        f"Warning: --{name} has no effect: the original ignores it; --extra_options makes it work" for name in given]


if __name__ == "__main__":
    processes.leave(main())
