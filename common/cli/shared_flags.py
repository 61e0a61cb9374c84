"""The flags that all programs share, and the paths and ranges that some of them hold."""
from __future__ import annotations

import os
import re
import shlex
from typing import Callable, Iterable

from common.cli.parser import FlagSet
from common.errors import FlagError, ZooError

PRECISION_MODES = (
    "allow_fp32_to_fp16", "force_fp16", "must_keep_origin_dtype", "allow_mix_precision",
    "force_fp32", "cube_fp16in_fp32out", "allow_mix_precision_fp16", "allow_mix_precision_bf16", "allow_fp32_to_bf16",
)  # fmt: skip

MAX_BATCH_SIZE = 1 << 16
MAX_SEED = 2 ** 32 - 1  # numpy takes no larger one

_DUMP_STEP = re.compile(r"\d+(-\d+)?(\|\d+(-\d+)?)*")


def define_data(flags: FlagSet, text: str) -> None:
    """The data folder."""
    flags.string("data_path", None, text, aliases=["data_url"])


def define_output(flags: FlagSet, aliases: Iterable[str] = ()) -> None:
    """Where run directories are."""
    flags.string("output_path", None, "parent of the run directories; the run is <output_path>/<ASCEND_DEVICE_ID>/ "
                 "(default: test/output in the model's folder)", aliases=["train_url", *aliases])


def define_device(flags: FlagSet) -> None:
    """The device."""
    flags.choice("device", "auto", ["auto", "npu", "gpu", "cpu"], "auto takes an NPU when there is one, else a GPU, "
                 "else the CPU; cpu hides NPUs and GPUs")


def define_training(flags: FlagSet, batch_size: int, seed: int, precision_mode: str) -> None:
    """The flags of every train entry, besides data, output and device."""
    flags.integer("epochs", None, "passes over the training data", 1, aliases=["epoch", "train_epochs",
                                                                         "max_nrof_epochs"])
    flags.integer("train_steps", None, "number of updates; whichever limit comes first ends the run", 1)
    flags.integer("batch_size", batch_size, "samples in a step", 1, MAX_BATCH_SIZE)
    flags.integer("seed", seed, "seed of the weights and of the order of the data", 0, MAX_SEED)
    flags.choice("recipe", "reference", ["reference", "corrected"],
                 "reference computes what the original computes; corrected switches the corrections on")
    flags.string("resume", "auto", "auto goes on with an unfinished run of the same arguments; never sets it aside; "
                 "the path of a run directory goes on with that run")
    flags.string("init_checkpoint", None, "checkpoint to take weights from, by name and shape",
                 aliases=["pretrained_model"])
    flags.integer("save_minutes", 5, "minutes between checkpoints", 1)
    flags.boolean("performance", False, "measure speed: 100 steps and no evaluation")
    _define_adapter(flags, precision_mode)


def _define_adapter(flags: FlagSet, precision_mode: str) -> None:
    flags.choice("precision_mode", None, PRECISION_MODES, f"NPU: precision mode of the adapter ({precision_mode} when "
                 "unset); GPU: allow_mix_precision mixes float16 in; CPU: float32 always")
    flags.boolean("over_dump", False, "find overflows: NPU adapter option, elsewhere numeric checks of every op")
    flags.boolean("data_dump_flag", False, "dump tensors: NPU adapter option, elsewhere inputs, logits and gradients "
                  "as .npy")
    flags.string("data_dump_step", "10", "steps to dump: 10, or 0|5|10-20")
    flags.boolean("profiling", False, "profile: NPU adapter option, elsewhere a trace")
    for name, folder in (("over_dump_path", "overflow_dump"), ("data_dump_path", "data_dump"),
                         ("profiling_dump_path", "profiling")):
        flags.string(name, None, f"made when missing (default: {folder} in the run directory)")
    flags.boolean("use_mixlist", False, "NPU: change the adapter's mixed-precision lists; implies allow_mix_precision")
    flags.string("mixlist_file", "ops_info.json", "file for use_mixlist")
    flags.boolean("fusion_off_flag", False, "NPU: switch graph fusions off")
    flags.string("fusion_off_file", "fusion_switch.cfg", "file for fusion_off_flag")
    flags.boolean("auto_tune", False, "NPU: tune operators while training")
    flags.boolean("static_shape", False, "full batches only")


def define_loss_scale(flags: FlagSet, default: bool | None = True) -> None:
    """Loss scaling of graph models; a default of None is the configuration's."""
    flags.boolean("dynamic_loss_scale", default, "NPU with TensorFlow 1.15: the adapter scales the loss, as the "
                  "originals have it; has no effect elsewhere")


def require_data_path(value: str | None) -> str:
    """The data path, or the error that users of the originals know."""
    if not value:
        raise ZooError('para "data_path" must be config')
    return value


def find_path(name: str, value: str, model_root: str) -> str:
    """Find what a path flag names: relative to the current directory, then to the model's folder.

    Raises:
        ZooError: neither exists.
    """
    path = os.path.expanduser(value)
    candidates = [os.path.abspath(path)]
    if not os.path.isabs(path):
        candidates.append(os.path.join(model_root, path))
    for candidate in candidates:
        if os.path.exists(candidate):
            return candidate
    raise ZooError(f"--{name}={value}: not found, looked for {' and '.join(candidates)}")


def find_data_folder(value: str, model_root: str, names: Iterable[str], has_data: Callable[[str], bool],
                     flag: str = "data_path") -> str:
    """Find the data folder: data_path itself, or one of the known names in it.

    Args:
        value: `--data_path`.
        model_root: folder of the model, searched for a relative path.
        names: sub-folders that users are known to have, for example `mnist`.
        has_data: tells whether a folder holds the data.
        flag: name of the flag that `value` was given to.

    Raises:
        ZooError: nothing found, or more than one candidate.
    """
    names = list(names)
    root = find_path(flag, value, model_root)
    if not os.path.isdir(root):
        raise ZooError(f"--{flag}={value}: is a file, expected a folder{_how_to_unpack([root])}")
    folders = [root] + [os.path.join(root, *name.split("/")) for name in names]
    found = {os.path.realpath(folder): folder for folder in folders if os.path.isdir(folder) and has_data(folder)}
    if len(found) > 1:
        raise ZooError(f"--{flag}={value}: data in {' and in '.join(found.values())}; name one of them")
    if not found:
        or_below = f" or in a sub-folder {', '.join(names)}" if names else ""
        inside = sorted(os.path.join(root, name) for name in os.listdir(root))
        raise ZooError(f"--{flag}={value}: no data in {root}{or_below}"
                       f"{_how_to_unpack(inside)}")
    return next(iter(found.values()))


def _how_to_unpack(paths: Iterable[str]) -> str:
    """The command that unpacks the first archive among some paths."""
    for path in paths:
        folder = shlex.quote(os.path.dirname(path))
        if path.endswith(".zip"):
            return f"; unpack the archive first: unzip {shlex.quote(path)} -d {folder}"
        if path.endswith((".tar", ".tar.gz", ".tgz")):
            return f"; unpack the archive first: tar -xf {shlex.quote(path)} -C {folder}"
    return ""


def parse_dump_steps(text: str) -> list[tuple[int, int]]:
    """Read `0|5|10-20` as ranges, both ends included.

    Raises:
        FlagError: not in that form, more than 100 items, or a range that does not rise.
    """
    if not _DUMP_STEP.fullmatch(text):
        raise FlagError(f"--data_dump_step={text}: expected a step, or steps and ranges as in 0|5|10-20")
    ranges = []
    for item in text.split("|"):
        first, _, last = item.partition("-")
        if last and int(first) >= int(last):
            raise FlagError(f"--data_dump_step={text}: the range {item} does not rise")
        ranges.append((int(first), int(last or first)))
    if len(ranges) > 100:
        raise FlagError(f"--data_dump_step={text}: {len(ranges)} items, at most 100")
    return ranges
