"""The configuration of SA-Siam: network, training and tracking. Typed, validated, stored as JSON.

A run directory holds model_config.json, train_config.json and track_config.json; `load` reads them.
"""
from __future__ import annotations

import dataclasses
import json
import math
import os
from typing import Any, Mapping, TypeVar

from common import atomic_files
from common.errors import ZooError

STRIDE = 8  # of the trunk, pixels per cell
EXEMPLAR_SIDE = 127  # pixels of a curated image that the target and its context cover
CURATED_SIDE = 255
BRANCHES = ("appearance", "semantic")
_NOT_IDENTITY = ("prefetch_threads", "prefetch_capacity", "batch_size", "seed", "epoch")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network.

    Attributes:
        branch: "appearance", "semantic", or "both".
        weight_decay: factor of half the sum of squares of every convolution's weights.
        bn_decay: decay of the moving statistics.
        response_scale: factor of the cross-correlation.
        c_appearance: weight of the appearance branch in the response of both branches.
        init_method: initial weights of convolutions, "xavier_uniform" or "kaiming_normal".
    """

    branch: str = "appearance"
    weight_decay: float = 5e-4
    bn_decay: float = 0.95
    response_scale: float = 1e-3
    c_appearance: float = 0.3
    init_method: str = "xavier_uniform"

    def __post_init__(self) -> None:
        _check(self, "branch", self.branch in (*BRANCHES, "both"), "appearance, semantic or both")
        _check(self, "weight_decay", self.weight_decay >= 0, "0 or more")
        _check(self, "bn_decay", 0 <= self.bn_decay < 1, "0 to below 1")
        _check(self, "c_appearance", 0 <= self.c_appearance <= 1, "0 to 1")
        _check(self, "init_method", self.init_method in ("xavier_uniform", "kaiming_normal"),
               "xavier_uniform or kaiming_normal")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The training.

    Attributes:
        batch_size: pairs in a step.
        epoch: number of nominal epochs; 0 trains nothing, as in the original's configuration for tracking with both
            branches.
        num_examples_per_epoch: examples of a nominal epoch, whatever the size of the data set.
        seed: of weights, order and augmentation.
        optimizer: "SGD" or "MOMENTUM".
        momentum: of MOMENTUM.
        use_nesterov: of MOMENTUM.
        lr_policy: "exponential" (staircase), "piecewise_constant" or "cosine".
        initial_lr: of exponential and cosine.
        lr_decay_factor: of exponential.
        num_epochs_per_decay: of exponential.
        lr_boundaries: of piecewise_constant, in epochs, rising.
        lr_values: of piecewise_constant, one more than boundaries.
        max_frame_dist: largest distance between the two frames of a pair.
        pair_order: "forward", the exemplar is the earlier frame, or "symmetric", it is either frame.
        exif_orientation: turn curated crops as a viewer shows them.
        gray_probability: share of pairs that are turned gray.
        prefetch_threads: threads that read examples.
        prefetch_capacity: examples that are read ahead.
        loss_scale: the loss is multiplied and the gradients are divided by it.
        dynamic_loss_scale: let the adapter scale the loss on an NPU with TensorFlow 1.15, as the original does.
    """

    batch_size: int = 8
    epoch: int = 30
    num_examples_per_epoch: int = 53200
    seed: int = 0
    optimizer: str = "SGD"
    momentum: float = 0.9
    use_nesterov: bool = False
    lr_policy: str = "exponential"
    initial_lr: float = 0.01
    lr_decay_factor: float = 0.1
    num_epochs_per_decay: float = 25.0
    lr_boundaries: tuple = ()
    lr_values: tuple = ()
    max_frame_dist: int = 100
    pair_order: str = "forward"
    exif_orientation: bool = False
    gray_probability: float = 0.0
    prefetch_threads: int = 4
    prefetch_capacity: int = 120
    loss_scale: float = 1.0
    dynamic_loss_scale: bool = True

    def __post_init__(self) -> None:
        least = 1 if self.lr_policy == "cosine" else 0  # a cosine ends with the last epoch
        _check(self, "epoch", self.epoch >= least, f"{least} or more")
        for name in ("batch_size", "num_examples_per_epoch", "max_frame_dist", "prefetch_threads",
                     "prefetch_capacity"):
            _check(self, name, getattr(self, name) >= 1, "1 or more")
        _check(self, "optimizer", self.optimizer in ("SGD", "MOMENTUM"), "SGD or MOMENTUM")
        _check(self, "momentum", 0 <= self.momentum < 1, "0 to below 1")
        _check(self, "lr_policy", self.lr_policy in ("exponential", "piecewise_constant", "cosine"),
               "exponential, piecewise_constant or cosine")
        for name in ("initial_lr", "lr_decay_factor", "num_epochs_per_decay", "loss_scale"):
            _check(self, name, getattr(self, name) > 0, "above 0")
        _check(self, "pair_order", self.pair_order in ("forward", "symmetric"), "forward or symmetric")
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
    """The tracking.

    Attributes:
        x_image_size: side of the search image, pixels.
        num_scales: number of scales to search, odd.
        scale_step: ratio of neighbouring scales.
        scale_damp: share of a change of scale that is applied.
        scale_penalty: factor of the response at all scales but the middle one.
        window_influence: weight of the cosine window.
        upsample_factor: of the response.
        scale_min: smallest size, relative to the first frame.
        scale_max: largest size, relative to the first frame.
    """

    x_image_size: int = CURATED_SIDE
    num_scales: int = 3
    scale_step: float = 1.0375
    scale_damp: float = 0.59
    scale_penalty: float = 0.9745
    window_influence: float = 0.176
    upsample_factor: int = 16
    scale_min: float = 0.2
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


def save(folder: str, *configs: Any) -> None:
    """Write each configuration to its file in a folder."""
    for config in configs:
        atomic_files.write_json(os.path.join(folder, FILES[type(config)]), dataclasses.asdict(config))


def identity(model: ModelConfig, train: TrainConfig) -> dict[str, Any]:
    """Return what a run shares with one that it resumes, besides batch size and seed; JSON values by name."""
    values = dataclasses.asdict(model)
    values.update((name, list(value) if isinstance(value, tuple) else value)
                  for name, value in dataclasses.asdict(train).items() if name not in _NOT_IDENTITY)
    if train.lr_policy == "cosine":  # the learning rates depend on the last epoch
        values["epoch"] = train.epoch
    return values


def load(kind: type[Config], folder: str) -> Config:
    """Read a configuration from its file in a folder; fields that are not in the file have their defaults.

    Raises:
        ZooError: the file is missing or no JSON, has an unknown key, or a value that is not allowed.
    """
    return kind(**read(kind, folder))


def read(kind: type[Config], folder: str) -> dict[str, Any]:
    """Read only the fields that are in a configuration's file in a folder; errors as those of `load`."""
    path = os.path.join(folder, FILES[kind])
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise ZooError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(content, dict):
        raise ZooError(f"{path}: is not a JSON object")
    try:
        config = from_mapping(kind, content)
    except ZooError as error:
        raise ZooError(f"{path}: {error}") from None
    return {name: getattr(config, name) for name in content}


def load_if_there(kind: type[Config], folder: str) -> Config:
    """Read a configuration, or return the defaults when its file is missing."""
    return load(kind, folder) if os.path.isfile(os.path.join(folder, FILES[kind])) else kind()


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
