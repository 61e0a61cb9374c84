"""SA-Siam on ILSVRC2015 VID: train a branch of the tracker of arXiv 1802.08817.

    python3 sa_siam_tf1/train_siamese_model.py --data_path=FOLDER [--branch=appearance|semantic]

FOLDER holds the curated crops (Data/VID/train/<letter>/<video>/*.crop.x.jpg) or the raw set (Annotations/VID and
Data/VID), or a folder ILSVRC2015-VID-Curation or ILSVRC2015 with them. Published for the appearance branch after
199,500 steps: a total loss of 0.263 on a GPU and 0.268 on an NPU.
"""
from __future__ import annotations

import dataclasses
import os
import sys
from typing import Any

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from common.checkpoints import bundle
from common.cli import program, recipe, shared_flags
from common.cli.parser import FlagSet, FlagValues
from common.devices import selection
from common.errors import FlagError, ZooError
from sa_siam_tf1 import configuration
from sa_siam_tf1.configuration import ModelConfig, TrackConfig, TrainConfig
from sa_siam_tf1.recipe import RECIPES, Switches

ROOT = os.path.dirname(os.path.abspath(__file__))
NETWORK = "Siamese_ID1289_for_TensorFlow"
NPU_PRECISION = "allow_mix_precision"
PERFORMANCE_UPDATES = 100
CAFFENET_NAME = "caffenet.npy"
# flags that become fields of TrainConfig
_INTEGERS = {
    "num_examples_per_epoch": "Examples of a nominal epoch, the unit of learning rate and checkpoints.",
    "max_frame_dist": "Largest distance between the two frames of a pair.",
    "prefetch_threads": "Threads that read examples.",
    "prefetch_capacity": "Examples that are read ahead.",
}
_NUMBERS = {
    "initial_lr": "Initial learning rate, except for --lr_policy=piecewise_constant.",
    "num_epochs_per_decay": "Nominal epochs between decays, for --lr_policy=exponential.",
    "lr_decay_factor": "Factor of a decay, for --lr_policy=exponential.",
    "momentum": "Momentum, for --optimizer=MOMENTUM.",
    "loss_scale": "Factor of the loss, divided out of the gradients again, against underflow in float16.",
    "gray_probability": "Share of pairs that are converted to gray.",
}
_CHOICES = {
    "optimizer": (("SGD", "MOMENTUM"), "Optimizer."),
    "lr_policy": (("exponential", "piecewise_constant", "cosine"),
                  "Schedule of the learning rate; exponential decays in steps."),
}
_LISTS = {
    "lr_boundaries": "Rising nominal epochs such as 10,20, for --lr_policy=piecewise_constant.",
    "lr_values": "Learning rates such as 0.01,0.001,0.0001, one more than boundaries, for "
                 "--lr_policy=piecewise_constant.",
}
_NOT_IDENTITY = ("prefetch_threads", "prefetch_capacity", "batch_size", "seed", "epoch")


def define_flags() -> FlagSet:
    """Return the flags of training."""
    flags = FlagSet(__doc__ or "")
    defaults = TrainConfig()
    shared_flags.define_data(flags, "Curated or raw folder of ILSVRC2015 VID, or its parent.")
    shared_flags.define_training(flags, "Pairs", defaults.batch_size, defaults.seed, epochs=str(defaults.epoch))
    shared_flags.define_accelerator(flags, NPU_PRECISION)
    flags.training.integer("steps", None, "Number of updates, like --train_steps.", 1)
    flags.model.choice("branch", "appearance", configuration.BRANCHES, "Branch to train; tracking joins the two.")
    flags.model.string("caffenet", None, "Semantic branch: caffenet.npy with the weights of the frozen trunk, or "
                       "random, which leaves it untrained.", "caffenet.npy in the data folder")
    flags.model.string("embedding_checkpoint_file", None, "Appearance branch: .mat file of a SiamFC network to start "
                       "from.")
    flags.data.string("config", None, "Folder with model_config.json, train_config.json and track_config.json, such "
                      "as a run directory. Flags that are given win over its values.")
    recipe.define(flags.training, Switches)
    for name, (choices, text) in _CHOICES.items():
        flags.training.choice(name, None, choices, text, getattr(defaults, name))
    for name, text in _NUMBERS.items():
        flags.training.number(name, None, text, unset=str(getattr(defaults, name)))
    for name, text in _LISTS.items():
        flags.training.string(name, None, text)
    flags.training.boolean("use_nesterov", None, "Use Nesterov momentum, for --optimizer=MOMENTUM.",
                           str(defaults.use_nesterov))
    for name, text in _INTEGERS.items():
        flags.training.integer(name, None, text, 1, unset=str(getattr(defaults, name)))
    shared_flags.define_loss_scale(flags, None, str(defaults.dynamic_loss_scale))
    flags.ignored.boolean("static_shape", False, "SA-Siam uses full batches only.")
    return flags


def configure(flags: FlagValues) -> tuple[ModelConfig, TrainConfig, TrackConfig]:
    """Put defaults, --config and flags together, each winning over the ones before.

    --recipe is a flag like others: where it is given, its switches win over those that a file holds.

    Raises:
        FlagError: a value that does not fit.
    """
    switches = dataclasses.asdict(recipe.resolve(RECIPES, flags))
    model, values, track = ModelConfig(branch=flags.branch), dict(switches), TrackConfig()
    if flags.config:
        folder = shared_flags.find_path("config", flags.config, ROOT)
        loaded = configuration.load(ModelConfig, folder)
        # a configuration of both is the tracker's; its branches are trained one at a time
        if not flags["branch"].present and loaded.branch in configuration.BRANCHES:
            model = loaded
        else:
            model = dataclasses.replace(loaded, branch=flags.branch)
        values.update(configuration.read(TrainConfig, folder))
        track = configuration.load_if_there(TrackConfig, folder)
    values.update((name, value) for name, value in switches.items() if flags["recipe"].present or flags[name].present)
    for name in ("batch_size", "seed"):
        if flags[name].present or name not in values:
            values[name] = flags[name].value
    if flags.epochs:
        values["epoch"] = flags.epochs
    for name in (*_INTEGERS, *_NUMBERS, *_CHOICES, "use_nesterov", "dynamic_loss_scale"):
        if flags[name].value is not None:
            values[name] = flags[name].value
    for name in _LISTS:
        if flags[name].value is not None:
            values[name] = _numbers(name, flags[name].value)
    try:
        train = configuration.from_mapping(TrainConfig, values)
    except ZooError as error:
        raise FlagError(f"--{error}") from None
    return model, train, track


def _numbers(name: str, text: str) -> tuple:
    try:
        return tuple(float(item) for item in text.split(","))
    except ValueError:
        raise FlagError(f"--{name}={text}: expected numbers separated by commas") from None


def num_updates(flags: FlagValues, train: TrainConfig) -> int:
    """Return the updates to make: the smallest of the limits that were given, or the default.

    Raises:
        FlagError: the configuration trains nothing, and no limit was given.
    """
    limits = [limit for limit in (flags.train_steps, flags.steps) if limit]
    if flags.performance and not flags.epochs and not limits:
        return PERFORMANCE_UPDATES
    if flags.epochs or not limits:
        if not train.epoch:
            raise FlagError(f"--config={flags.config}: its epoch is 0, which trains nothing; give --epochs or "
                            "--train_steps")
        limits.append(train.num_steps)
    return min(limits)


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Train; return the exit status."""
    from sa_siam_tf1 import pretrained
    from sa_siam_tf1.datasets import imdb

    flag_set = define_flags()
    flags = flag_set.parse(arguments)
    model, train, track = configure(flags)
    updates = num_updates(flags, train)
    data_path = shared_flags.require_data_path(flags.data_path)
    selection.require_single_device(os.environ)
    folder = shared_flags.find_data_folder(data_path, ROOT, imdb.FOLDER_NAMES, imdb.has_data)
    device = selection.choose(flags.device, os.environ)
    init_checkpoint = bundle.prefix_of(flags.init_checkpoint) if flags.init_checkpoint else None
    weights_path, weights, weights_notices = _imported_weights(flags, model.branch, folder, init_checkpoint)
    data = imdb.load(folder)

    from common.graph import session
    from common.run import metrics, setup
    from sa_siam_tf1 import training

    config = training.Config(
        case=metrics.Case(NETWORK, train.batch_size, 1, flags.performance), model=model, train=train,
        track=track, num_updates=updates, performance=flags.performance,
        save_seconds=60.0 * flags.save_minutes, init_checkpoint=init_checkpoint, imported=weights)
    identity = _identity(model, train, data.fingerprint)
    identity.update(imported=pretrained.fingerprint(weights_path), init_checkpoint=bundle.fingerprint(init_checkpoint))
    notices = [*flag_set.warnings(), *data.notices, *weights_notices,
               f"Data: {folder}, {len(data.train)} tracks to train on, {len(data.validation)} to validate with",
               f"{recipe.notice(flags.recipe, Switches(train.pair_order))}; branch {model.branch}"]
    flags.batch_size, flags.seed = train.batch_size, train.seed  # --config may have set them
    entry = setup.Entry(__file__, NETWORK, NPU_PRECISION, arguments)
    with session.open_graph_run(entry, flags, device, updates, identity, notices) as opened:
        training.train_and_evaluate(config, data, opened, stop)
    return 0


def _identity(model: ModelConfig, train: TrainConfig, fingerprint: list) -> dict[str, Any]:
    identity = dict(dataclasses.asdict(model), data=fingerprint)
    identity.update((name, list(value) if isinstance(value, tuple) else value)
                    for name, value in dataclasses.asdict(train).items() if name not in _NOT_IDENTITY)
    if train.lr_policy == "cosine":
        identity["epoch"] = train.epoch
    return identity


def _imported_weights(flags: FlagValues, branch: str, folder: str, init_checkpoint: str | None
                      ) -> tuple[str | None, dict, list[str]]:
    """Return path, weights by variable and notices of what a branch begins with besides its own initial weights."""
    from common.graph import checkpoints
    from sa_siam_tf1 import pretrained

    if branch == "appearance":
        warning = "Warning: --caffenet has no effect: the appearance branch has no such trunk"
        notices = [warning] if flags.caffenet else []
        if not flags.embedding_checkpoint_file:
            return None, {}, notices
        path = shared_flags.find_path("embedding_checkpoint_file", flags.embedding_checkpoint_file, ROOT)
        return path, pretrained.load_mat(path), [*notices, f"Weights: {path}"]
    if flags.embedding_checkpoint_file:
        raise FlagError("--embedding_checkpoint_file is for the appearance branch; the semantic one takes --caffenet")
    if init_checkpoint and pretrained.holds_trunk(checkpoints.shapes_in(init_checkpoint)):
        warning = "Warning: --caffenet has no effect: the trunk comes from --init_checkpoint"
        return None, {}, [warning] if flags.caffenet else []
    if flags.caffenet == "random":
        return None, {}, ["WARNING: --caffenet=random: the semantic trunk is frozen at random weights. It is "
                          "UNTRAINED, and so is all that is learned on top of it."]
    found = [os.path.join(folder, *place, CAFFENET_NAME) for place in ((), ("Data", "VID", "train"))]
    path = shared_flags.find_path("caffenet", flags.caffenet, ROOT) if flags.caffenet else next(
        filter(os.path.isfile, found), None)
    if path is None:
        raise ZooError(f"the semantic branch needs the weights of CaffeNet, and {found[0]} is not there: give "
                       "--caffenet=FILE, an --init_checkpoint of this branch, or --caffenet=random for a trunk that is "
                       "not trained")
    return path, pretrained.load_caffenet(path), [f"Weights: {path}"]


if __name__ == "__main__":
    sys.exit(main())
