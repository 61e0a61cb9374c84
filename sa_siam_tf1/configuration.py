"""The configuration of SA-Siam: network, training and tracking. Typed, validated, stored as JSON, given as flags.

A run directory holds model_config.json, train_config.json and track_config.json; `load` reads them.
"""
from __future__ import annotations

import dataclasses
import json
import math
import os
from typing import Any, Mapping, Sequence, TypeVar

from common import atomic_files
from common.cli import shared_flags
from common.cli.parser import FlagSet, FlagValues
from common.cli.shared_flags import switch as _flag  # declares a field that is a flag of training too
from common.errors import FlagError, ZooError
from sa_siam_tf1.recipe import RECIPES, Switches

ROOT = os.path.dirname(os.path.abspath(__file__))
STRIDE = 8  # of the trunk, pixels per cell
EXEMPLAR_SIDE = 127  # pixels of a curated image that the target and its context cover
CURATED_SIDE = 255
# of the trunk's layers: height, width, input channels of a group, output channels of all groups
KERNELS = {"conv1": (11, 11, 3, 96), "conv2": (5, 5, 48, 256), "conv3": (3, 3, 256, 384), "conv4": (3, 3, 192, 384),
           "conv5": (3, 3, 192, 256)}
BRANCHES = ("appearance", "semantic")
_NOT_IDENTITY = ("prefetch_threads", "prefetch_capacity", "batch_size", "seed", "epoch")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network."""

    branch: str = "appearance"  # or "semantic", or "both"
    weight_decay: float = 5e-4  # factor of half the sum of squares of every convolution's weights
    bn_decay: float = 0.95  # decay of the moving statistics
    response_scale: float = 1e-3  # factor of the cross-correlation
    c_appearance: float = 0.3  # weight of the appearance branch in the response of both branches
    init_method: str = "xavier_uniform"  # initial weights of convolutions; or "kaiming_normal"

    def __post_init__(self) -> None:
        _check_choice(self, "branch", (*BRANCHES, "both"))
        _check(self, "weight_decay", self.weight_decay >= 0, "0 or more")
        _check(self, "bn_decay", 0 <= self.bn_decay < 1, "0 to below 1")
        _check(self, "c_appearance", 0 <= self.c_appearance <= 1, "0 to 1")
        _check_choice(self, "init_method", ("xavier_uniform", "kaiming_normal"))


@dataclasses.dataclass(frozen=True)
class TrainConfig(Switches):
    """The training: the switches of the recipes and all other settings, most of which are flags too."""

    batch_size: int = 8
    epoch: int = 30  # nominal epochs; 0, which trains nothing, in the original's configuration for tracking
    seed: int = 0
    optimizer: str = _flag("SGD", "Optimizer.", ("SGD", "MOMENTUM"))
    momentum: float = _flag(0.9, "Momentum, for --optimizer=MOMENTUM.")
    use_nesterov: bool = _flag(False, "Use Nesterov momentum, for --optimizer=MOMENTUM.")
    lr_policy: str = _flag("exponential", "Schedule of the learning rate; exponential decays in steps.",
                           ("exponential", "piecewise_constant", "cosine"))
    initial_lr: float = _flag(0.01, "Initial learning rate, except for --lr_policy=piecewise_constant.")
    num_epochs_per_decay: float = _flag(25.0, "Nominal epochs between decays, for --lr_policy=exponential.")
    lr_decay_factor: float = _flag(0.1, "Factor of a decay, for --lr_policy=exponential.")
    lr_boundaries: tuple = _flag((), "Rising nominal epochs such as 10,20, for --lr_policy=piecewise_constant.")
    lr_values: tuple = _flag((), "Learning rates such as 0.01,0.001,0.0001, one more than boundaries, for "
                             "--lr_policy=piecewise_constant.")
    loss_scale: float = _flag(1.0, "Factor that scales the loss against underflow in float16; gradients are divided "
                              "by it.")
    gray_probability: float = _flag(0.0, "Share of pairs that are converted to gray.")
    num_examples_per_epoch: int = _flag(53200, "Examples of a nominal epoch, the unit of learning rate and "
                                        "checkpoints.")
    max_frame_dist: int = _flag(100, "Largest distance between the two frames of a pair.")
    prefetch_threads: int = _flag(4, "Threads that read examples.")
    prefetch_capacity: int = _flag(120, "Examples that are read ahead.")
    dynamic_loss_scale: bool = True  # by the adapter on an NPU with TensorFlow 1.15, as in the original

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.metadata.get("choices"):
                _check_choice(self, field.name, field.metadata["choices"])
        least = 1 if self.lr_policy == "cosine" else 0  # a cosine ends with the last epoch
        _check(self, "epoch", self.epoch >= least, f"{least} or more")
        for name in ("batch_size", "num_examples_per_epoch", "max_frame_dist", "prefetch_threads",
                     "prefetch_capacity"):
            _check(self, name, getattr(self, name) >= 1, "1 or more")
        for name in ("initial_lr", "lr_decay_factor", "num_epochs_per_decay", "loss_scale"):
            _check(self, name, getattr(self, name) > 0, "above 0")
        _check(self, "momentum", 0 <= self.momentum < 1, "0 to below 1")
        _check(self, "gray_probability", 0 <= self.gray_probability <= 1, "0 to 1")
        if self.lr_policy == "piecewise_constant":
            _check(self, "lr_values", len(self.lr_values) == len(self.lr_boundaries) + 1,
                   "one value more than lr_boundaries")
            _check(self, "lr_boundaries", list(self.lr_boundaries) == sorted(set(self.lr_boundaries)), "rising epochs")

    @property
    def steps_per_epoch(self) -> int:
        """Steps of a nominal epoch."""
        return max(1, self.num_examples_per_epoch // self.batch_size)

    @property
    def num_steps(self) -> int:
        """Steps of all nominal epochs."""
        return max(1, int(self.epoch * self.num_examples_per_epoch / self.batch_size))

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of the step after `step` updates."""
        if self.lr_policy == "piecewise_constant":
            passed = sum(step > boundary * self.steps_per_epoch for boundary in self.lr_boundaries)
            return float(self.lr_values[passed])
        if self.lr_policy == "cosine":
            progress = min(1.0, step / (self.epoch * self.steps_per_epoch))
            return 0.5 * self.initial_lr * (1.0 + math.cos(math.pi * progress))
        decays = step // max(1, int(self.num_epochs_per_decay * self.steps_per_epoch))
        return self.initial_lr * self.lr_decay_factor ** decays


@dataclasses.dataclass(frozen=True)
class TrackConfig:
    """The tracking."""

    x_image_size: int = CURATED_SIDE  # side of the search image, pixels
    num_scales: int = 3  # that are searched
    scale_step: float = 1.0375  # ratio of neighbouring scales
    scale_damp: float = 0.59  # share of a change of scale that is applied
    scale_penalty: float = 0.9745  # factor of the response at all scales but the middle one
    window_influence: float = 0.176  # weight of the cosine window
    upsample_factor: int = 16  # of the response
    scale_min: float = 0.2  # smallest and largest size, relative to the first frame
    scale_max: float = 5.0

    def __post_init__(self) -> None:
        _check(self, "x_image_size", self.x_image_size >= 191 and self.x_image_size % STRIDE == 7,
               "191 or more, 8 n + 7")
        _check(self, "num_scales", self.num_scales >= 1 and self.num_scales % 2 == 1, "odd")
        _check(self, "scale_step", self.scale_step > 1, "above 1")
        for name in ("scale_damp", "window_influence"):
            _check(self, name, 0 <= getattr(self, name) <= 1, "0 to 1")
        _check(self, "scale_penalty", self.scale_penalty > 0, "above 0")
        _check(self, "upsample_factor", self.upsample_factor >= 1, "1 or more")
        _check(self, "scale_max", 0 < self.scale_min <= 1 <= self.scale_max, "1 or more, and scale_min 0 to 1")


Config = TypeVar("Config", ModelConfig, TrainConfig, TrackConfig)
FILES = {ModelConfig: "model_config.json", TrainConfig: "train_config.json", TrackConfig: "track_config.json"}


def define_flags(flags: FlagSet) -> None:
    """Define --config and the flags that are fields of `TrainConfig`."""
    flags.data.string("config", None, "Folder with model_config.json, train_config.json and track_config.json, such "
                      "as a run directory. Flags that are given win over its values.")
    shared_flags.define_switches(flags.training, Switches)
    for field in dataclasses.fields(TrainConfig)[len(dataclasses.fields(Switches)):]:
        if not field.metadata:
            continue
        name, text, kind = field.name, field.metadata["text"], type(field.default)
        unset = "none" if kind is tuple else str(field.default)
        if field.metadata["choices"]:
            flags.training.choice(name, None, field.metadata["choices"], text, unset)
        elif kind is int:
            flags.training.integer(name, None, text, 1, unset=unset)
        else:
            define = {bool: flags.training.boolean, float: flags.training.number, tuple: flags.training.string}[kind]
            define(name, None, text, unset=unset)
    shared_flags.define_loss_scale(flags, None, str(TrainConfig.dynamic_loss_scale))


def from_flags(flags: FlagValues) -> tuple[ModelConfig, TrainConfig, TrackConfig]:
    """Combine defaults, --config and flags; each wins over the ones before.

    --recipe is a flag like the others: where it is given, its switches win over those of a file.

    Raises:
        FlagError: a value that is not allowed.
    """
    switches = dataclasses.asdict(shared_flags.resolve_switches(RECIPES, flags))
    model, values, track = ModelConfig(branch=flags.branch), dict(switches), TrackConfig()
    if flags.config:
        folder = shared_flags.find_path("config", flags.config, ROOT)
        loaded = load(ModelConfig, folder)
        # a configuration of both branches is for tracking; they are trained one at a time
        keeps_branch = not flags["branch"].present and loaded.branch in BRANCHES
        model = loaded if keeps_branch else dataclasses.replace(loaded, branch=flags.branch)
        values = dataclasses.asdict(load(TrainConfig, folder))
        track = load(TrackConfig, folder, is_optional=True)
    if flags["recipe"].present:
        values.update(switches)
    for field in dataclasses.fields(TrainConfig):
        flag = flags["epochs" if field.name == "epoch" else field.name]
        if flag.present:
            values[field.name] = _numbers(flag.name, flag.value) if field.default == () else flag.value
    try:
        return model, from_mapping(TrainConfig, values), track
    except ZooError as error:
        raise FlagError(f"--{error}") from None


def _numbers(name: str, text: str) -> tuple:
    try:
        return tuple(float(item) for item in text.split(","))
    except ValueError:
        raise FlagError(f"--{name}={text}: expected numbers separated by commas") from None


def identity(model: ModelConfig, train: TrainConfig) -> dict[str, Any]:
    """Return what a run shares with one that it resumes, besides batch size and seed; JSON values by name."""
    values = dataclasses.asdict(model)
    values.update((name, list(value) if isinstance(value, tuple) else value)
                  for name, value in dataclasses.asdict(train).items() if name not in _NOT_IDENTITY)
    if train.lr_policy == "cosine":  # the learning rates depend on the last epoch
        values["epoch"] = train.epoch
    return values


def save(folder: str, *configs: Any) -> None:
    """Write each configuration to its file in a folder."""
    for config in configs:
        atomic_files.write_json(os.path.join(folder, FILES[type(config)]), dataclasses.asdict(config))


def load(kind: type[Config], folder: str, is_optional: bool = False) -> Config:
    """Read a configuration from its file in a folder; fields that are not in the file have their defaults.

    Raises:
        ZooError: the file is missing and not optional, or no JSON, or has an unknown key or a value that is not
            allowed.
    """
    path = os.path.join(folder, FILES[kind])
    content = {} if is_optional and not os.path.isfile(path) else read_json(path)
    if not isinstance(content, dict):
        raise ZooError(f"{path}: is not a JSON object")
    try:
        return from_mapping(kind, content)
    except ZooError as error:
        raise ZooError(f"{path}: {error}") from None


def read_json(path: str) -> Any:
    """Read a JSON file."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise ZooError(f"{path}: cannot be read as JSON ({error})") from None


def from_mapping(kind: type[Config], content: Mapping[str, Any]) -> Config:
    """Return the configuration with the given values.

    Raises:
        ZooError: an unknown key, or a value of the wrong type or out of range.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    values = {}
    for name, value in content.items():
        if name not in fields:
            raise ZooError(f"unknown key {name!r} of {kind.__name__}; known are {', '.join(fields)}")
        values[name] = _typed(name, value, type(fields[name].default))
    return kind(**values)


def _typed(name: str, value: Any, wanted: type) -> Any:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if wanted is float and is_number:
        return float(value)
    if wanted is int and is_number and value == int(value):
        return int(value)
    if wanted is tuple and isinstance(value, (list, tuple)):
        return tuple(_typed(name, item, float) for item in value)
    if wanted in (str, bool) and isinstance(value, wanted):
        return value
    raise ZooError(f"{name}={value!r}: expected {'a list of numbers' if wanted is tuple else wanted.__name__}")


def _check(config: Any, name: str, holds: bool, wanted: str) -> None:
    if not holds:
        raise ZooError(f"{name}={getattr(config, name)!r}: expected {wanted}")


def _check_choice(config: Any, name: str, choices: Sequence[str]) -> None:
    _check(config, name, getattr(config, name) in choices, f"{', '.join(choices[:-1])} or {choices[-1]}")
