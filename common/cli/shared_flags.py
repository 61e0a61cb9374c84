"""Flags that programs share, and what they mean: paths, numbers of updates and recipes.

A recipe is a named set of switches. A model lists its switches in a frozen dataclass whose fields are made with
`switch`, and its recipes as `RECIPES = {"reference": Switches(), "corrected": Switches(...)}`. Every switch is also a
flag, which wins over the recipe.
"""
from __future__ import annotations

import dataclasses
import os
import shlex
from types import MappingProxyType
from typing import Any, Callable, Collection, Iterable, Mapping

from common.cli.parser import REQUIRED, FlagSet, FlagValues, Group
from common.errors import ZooError

PRECISION_MODES = (
    "allow_fp32_to_fp16", "force_fp16", "must_keep_origin_dtype", "allow_mix_precision",
    "force_fp32", "cube_fp16in_fp32out", "allow_mix_precision_fp16", "allow_mix_precision_bf16", "allow_fp32_to_bf16",
    "adapter_default",
)  # fmt: skip
PRECISION_MODES_V2 = (
    "fp16", "origin", "cube_fp16in_fp32out", "mixed_float16", "mixed_bfloat16", "cube_hif8", "mixed_hif8",
)  # fmt: skip

PRODUCTS = ("910A", "A2", "A3", "950")

MAX_BATCH_SIZE = 1 << 16
PERFORMANCE_UPDATES = 100
MAX_SEED = 2 ** 32 - 1  # numpy takes no larger one


def define_data(flags: FlagSet, text: str, unset: str = REQUIRED) -> None:
    """Define --data_path."""
    flags.data.string("data_path", None, text, unset)
    flags.alias("data_path", "data_url")


def define_output(flags: FlagSet) -> None:
    """Define --output_path."""
    flags.data.string("output_path", None, "Parent of the run directories: a run is <output_path>/<ASCEND_DEVICE_ID>.",
                      "test/output in the folder of the model")
    flags.alias("output_path", "train_url")


def define_device(flags: FlagSet, more: Mapping[str, str] = MappingProxyType({})) -> None:
    """Define --device; `more` has further values, and a sentence about each."""
    flags.accelerator.choice("device", "auto", ["auto", "npu", "gpu", "cpu", *more], " ".join((
        "Device to compute on. auto takes an NPU if there is one, else a GPU, else the CPU; cpu hides NPUs and GPUs.",
        *more.values())))


def define_training(flags: FlagSet, samples: str, batch_size: int, seed: int, epochs: str = "none") -> None:
    """Define the flags of every train entry for output and training.

    `samples` are what a batch consists of, such as "Images"; `epochs` is the default without any limit, for the help.
    """
    define_output(flags)
    flags.alias("output_path", "exp_save_dir")
    training = flags.training
    training.integer("epochs", None, "Passes over the training data. The first of the given limits ends the run.", 1,
                     unset=epochs)
    flags.alias("epochs", "epoch", "train_epochs", "max_nrof_epochs")
    training.integer("train_steps", None, "Number of updates.", 1)
    training.integer("batch_size", batch_size, f"{samples} per update.", 1, MAX_BATCH_SIZE)
    training.choice("recipe", "reference", ["reference", "corrected"],
                    "reference computes what the original computes; corrected turns on the corrections.")
    training.string("resume", "auto", "auto: resume an unfinished run with identical arguments; never: archive it and "
                    "start anew; PATH: resume that run.")
    training.string("init_checkpoint", None, "Checkpoint to take initial weights from, by name and shape.")
    flags.alias("init_checkpoint", "pretrained_model")
    training.integer("seed", seed, "Seed of initial weights and of the order of the data.", 0, MAX_SEED)
    training.integer("save_minutes", 5, "Minutes between checkpoints.", 1)
    training.boolean("verbose", False, "Print the lines of the original on a terminal too, not only to the log.")
    training.boolean("performance", False, f"Measure speed: {PERFORMANCE_UPDATES} updates without evaluation.")


def define_steps_per_loop(flags: FlagSet) -> None:
    """Define --steps_per_loop."""
    flags.training.integer("steps_per_loop", 1, "Maximum number of updates in one call of the device. More than 1 "
                           "saves work of the host and changes no number; a signal takes effect after the call. NPUs, "
                           "--over_dump, --data_dump_flag and --profiling need 1.", 1)


def define_accelerator(flags: FlagSet, precision_mode: str, devices: Mapping[str, str] = MappingProxyType({})) -> None:
    """Define the flags of every train entry for device, precision, NPU adapter and diagnosis.

    `precision_mode` is the default on an NPU, for the help; `devices` is `more` of `define_device`.
    """
    define_device(flags, devices)
    npu = flags.accelerator
    npu.choice("precision_mode", None, PRECISION_MODES, "Precision mode of the NPU adapter. A GPU supports "
               "allow_mix_precision, which mixes in float16, and force_fp32, which switches TF32 off; a CPU always "
               "computes in float32. adapter_default leaves the choice to the NPU adapter.",
               f"{precision_mode} on an NPU, tf32 on a GPU that has it, else float32")
    npu.choice("precision_mode_v2", None, PRECISION_MODES_V2, "NPU: the adapter's newer precision modes, instead of "
               "--precision_mode.")
    npu.boolean("hf32", None, "NPU: compute float32 products and convolutions in HF32, with an 11-bit mantissa; False "
                "computes all in float32.", "as the adapter does: HF32 for convolutions on Atlas A2 and newer")
    npu.choice("npu_product", "auto", ["auto", *PRODUCTS], "NPU: the product series. It decides how many processes a "
               "server takes. auto looks on the PCI bus.")
    npu.boolean("deterministic", False, "Compute the same bits in every run on a GPU or NPU too; slower. A CPU always "
                "does.")
    npu.boolean("jit_compile", False, "Compile the training step with XLA, on a GPU or CPU. Losses agree to 1e-5, not "
                "to the bit. For one process, without --over_dump.")
    npu.boolean("use_mixlist", False, "NPU: change the adapter's mixed-precision lists; implies "
                "--precision_mode=allow_mix_precision.")
    npu.string("mixlist_file", "ops_info.json", "NPU: file of the lists for --use_mixlist. A bare name is looked up in "
               "the current directory, then in the model's configs/.")
    npu.boolean("fusion_off_flag", False, "NPU: switch graph fusions off.")
    npu.string("fusion_off_file", "fusion_switch.cfg", "NPU: file of the fusions for --fusion_off_flag, looked up like "
               "--mixlist_file.")
    npu.boolean("auto_tune", False, "NPU: tune operators while training.")
    npu.string("op_compiler_cache_dir", None, "NPU: folder of compiled operators, which ranks and later runs share.",
               "the adapter's")
    diagnosis = flags.diagnosis
    diagnosis.boolean("over_dump", False, "Find overflows, with the NPU adapter or by numeric checks of every "
                      "operation.")
    diagnosis.string("over_dump_path", None, "Folder of the overflow data.", "overflow_dump in the run directory")
    diagnosis.boolean("data_dump_flag", False, "Dump tensors, with the NPU adapter or as .npy files of inputs, logits "
                      "and gradients. Not together with --over_dump.")
    diagnosis.string("data_dump_step", "10", "Steps to dump: a step, or steps and ranges as in 0|5|10-20.")
    diagnosis.string("data_dump_path", None, "Folder of the dumped tensors.", "data_dump in the run directory")
    diagnosis.boolean("profiling", False, "Profile the run, with the NPU adapter or as a trace for TensorBoard.")
    diagnosis.string("profiling_dump_path", None, "Folder of the profile.", "profiling in the run directory")


def define_loss_scale(flags: FlagSet, default: bool | None = True, unset: str = "none") -> None:
    """Define the loss scaling of graph models."""
    flags.accelerator.boolean("dynamic_loss_scale", default, "NPU with TensorFlow 1.15: let the adapter scale the loss "
                              "dynamically, as the original does. No effect elsewhere.", unset)


def num_updates(flags: FlagValues, default: int, *limits: int | None) -> int:
    """Return the updates of a run: the smallest of --train_steps and the given limits, or the default without any."""
    given = [limit for limit in (flags.train_steps, *limits) if limit]
    return min(given) if given else PERFORMANCE_UPDATES if flags.performance else default


def switch(reference: Any, text: str, choices: Iterable[str] = ()) -> Any:
    """Declare a switch by its value in the reference recipe, the help of its flag, and choices unless it is a bool."""
    return dataclasses.field(default=reference, metadata={"text": text, "choices": tuple(choices)})


def define_switches(group: Group, switches: type, names: Collection[str] = (), unset: str = "the recipe's") -> None:
    """Define the flags of all or some switches; `unset` says in the help whose value holds without a flag."""
    for field in dataclasses.fields(switches):
        if names and field.name not in names:
            continue
        text, choices = field.metadata["text"], field.metadata["choices"]
        if choices:
            group.choice(field.name, None, choices, text, unset)
        else:
            group.boolean(field.name, None, text, unset)


def resolve_switches(recipes: Mapping[str, Any], flags: FlagValues) -> Any:
    """Return the switches of --recipe, those that were given as flags replaced."""
    switches = recipes[flags.recipe]
    values = {field.name: flags[field.name].value for field in dataclasses.fields(switches)}
    return dataclasses.replace(switches, **{name: value for name, value in values.items() if value is not None})


def from_identity(kind: Any, identity: Mapping[str, Any]) -> Any:
    """Return the switches or settings of a run, with defaults for those that its identity lacks."""
    return kind(**{field.name: identity[field.name] for field in dataclasses.fields(kind) if field.name in identity})


def recipe_notice(recipe: str, switches: Any) -> str:
    """Return the line that tells which switches are in effect."""
    return f"Recipe: {recipe}, {', '.join(f'{name}={value}' for name, value in dataclasses.asdict(switches).items())}"


def find_path(name: str, value: str | None, model_root: str) -> str:
    """Return the path that a flag names, relative to the current directory or else to the model's folder.

    Raises ZooError if neither exists, or with the message of the original scripts if --data_path was not given.
    """
    if not value:
        raise ZooError('para "data_path" must be config')
    paths = candidates(value, model_root)
    for path in filter(os.path.exists, paths):
        return path
    raise ZooError(f"--{name}={value}: not found, looked for {' and '.join(paths)}")


def candidates(value: str, model_root: str) -> list[str]:
    """Return the paths that a value of a flag may mean, see `find_path`."""
    path = os.path.expanduser(value)
    return [os.path.abspath(path)] + ([] if os.path.isabs(path) else [os.path.join(model_root, path)])


def find_data_folder(value: str | None, model_root: str, names: Iterable[str], has_data: Callable[[str], bool],
                     flag: str = "data_path") -> str:
    """Return the data folder: the one that a flag names, or one of the known folders `names` in it.

    Raises ZooError if none of them contains the data, or more than one.
    """
    names = list(names)
    root = find_path(flag, value, model_root)
    if not os.path.isdir(root):
        raise ZooError(f"--{flag}={value}: is a file, expected a folder{_how_to_unpack([root])}")
    folders = [root] + [os.path.join(root, *name.split("/")) for name in names]
    with_data = {os.path.realpath(folder): folder for folder in folders if os.path.isdir(folder) and has_data(folder)}
    if len(with_data) > 1:
        raise ZooError(f"--{flag}={value}: data in {' and in '.join(with_data.values())}; name one of them")
    if not with_data:
        or_below = f" or in a sub-folder {', '.join(names)}" if names else ""
        inside = sorted(os.path.join(root, name) for name in os.listdir(root))
        raise ZooError(f"--{flag}={value}: no data in {root}{or_below}"
                       f"{_how_to_unpack(inside)}")
    return next(iter(with_data.values()))


def _how_to_unpack(paths: Iterable[str]) -> str:
    """Return how to unpack the first archive among some paths, or nothing."""
    for path in paths:
        folder = shlex.quote(os.path.dirname(path))
        if path.endswith(".zip"):
            return f"; unpack the archive first: unzip {shlex.quote(path)} -d {folder}"
        if path.endswith((".tar", ".tar.gz", ".tgz")):
            return f"; unpack the archive first: tar -xf {shlex.quote(path)} -C {folder}"
    return ""
