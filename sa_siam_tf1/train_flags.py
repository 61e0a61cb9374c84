"""The configuration of a training run: defaults, --config and the flags that are fields of `TrainConfig`."""
from __future__ import annotations

import dataclasses
import os

from common.cli import recipe
from common.cli.parser import FlagSet, FlagValues
from common.cli.shared_flags import define_loss_scale, find_path
from common.errors import FlagError, ZooError
from sa_siam_tf1 import configuration
from sa_siam_tf1.configuration import ModelConfig, TrackConfig, TrainConfig
from sa_siam_tf1.recipe import RECIPES, Switches

ROOT = os.path.dirname(os.path.abspath(__file__))
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


def define(flags: FlagSet) -> None:
    """Define --config and the flags that are fields of `TrainConfig`."""
    defaults = TrainConfig()
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
    flags.training.choice("cache_crops", "auto", ["auto", "memory", "off"], "Keep training crops in the memory of the "
                          "device once they are decoded; auto does if they need at most a quarter of the host's free "
                          "memory.")
    define_loss_scale(flags, None, str(defaults.dynamic_loss_scale))


def configure(flags: FlagValues) -> tuple[ModelConfig, TrainConfig, TrackConfig]:
    """Combine defaults, --config and flags; each wins over the ones before.

    --recipe is a flag like the others: where it is given, its switches win over those of a file.

    Raises:
        FlagError: a value that is not allowed.
    """
    switches = dataclasses.asdict(recipe.resolve(RECIPES, flags))
    model, values, track = ModelConfig(branch=flags.branch), dict(switches), TrackConfig()
    if flags.config:
        folder = find_path("config", flags.config, ROOT)
        loaded = configuration.load(ModelConfig, folder)
        # a configuration of both branches is for tracking; they are trained one at a time
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
