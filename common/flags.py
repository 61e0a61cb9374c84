"""Flags: the ones that all programs share, and how a command line is read.

absl defines and checks the flags; each `main(argv)` has its own FlagValues. Before absl sees the command line it is
brought into one form, so that `--use_amp True`, `--use_amp=yes` and a bare `--use_amp` mean the same, and an empty
value means unset.
"""
from __future__ import annotations

import difflib
import os
import re
from typing import Callable, Iterable

from absl import flags as absl_flags

from common.program import FlagError, HelpRequested, ZooError

FlagValues = absl_flags.FlagValues

PRECISION_MODES = (
    "allow_fp32_to_fp16", "force_fp16", "must_keep_origin_dtype", "allow_mix_precision",
    "force_fp32", "cube_fp16in_fp32out", "allow_mix_precision_fp16", "allow_mix_precision_bf16", "allow_fp32_to_bf16",
)  # fmt: skip

_TRUE_WORDS = {"true", "yes", "t", "y", "1"}
_FALSE_WORDS = {"false", "no", "f", "n", "0"}
_DUMP_STEP = re.compile(r"\d+(-\d+)?(\|\d+(-\d+)?)*")


class FlagSet:
    """The flags of one program: definitions, then one `parse`."""

    def __init__(self, description: str):
        self.description = description
        self.values = FlagValues()
        self._without_effect: dict[str, str] = {}

    def string(self, name: str, default: str | None, text: str, aliases: Iterable[str] = ()) -> None:
        absl_flags.DEFINE_string(name, default, text, flag_values=self.values)
        self._alias(name, aliases)

    def integer(self, name: str, default: int | None, text: str, minimum: int = 0, aliases: Iterable[str] = ()) -> None:
        absl_flags.DEFINE_integer(name, default, text, lower_bound=minimum, flag_values=self.values)
        self._alias(name, aliases)

    def number(self, name: str, default: float | None, text: str, minimum: float = 0.0) -> None:
        absl_flags.DEFINE_float(name, default, text, lower_bound=minimum, flag_values=self.values)

    def boolean(self, name: str, default: bool | None, text: str) -> None:
        absl_flags.DEFINE_boolean(name, default, text, flag_values=self.values)

    def choice(self, name: str, default: str | None, choices: Iterable[str], text: str) -> None:
        absl_flags.DEFINE_enum(name, default, list(choices), text, flag_values=self.values)

    def without_effect(self, name: str, reason: str, aliases: Iterable[str] = ()) -> None:
        """Accept a flag that does nothing here; `warnings` says so when it is given.

        A flag that is already defined keeps its definition.
        """
        if name not in self.values:
            self.string(name, None, f"accepted, no effect: {reason}", aliases)
        self._without_effect[name] = reason

    def warnings(self) -> list[str]:
        """One line for each flag that was given and has no effect."""
        return [
            f"Warning: --{name} has no effect: {reason}"
            for name, reason in self._without_effect.items()
            if self.values[name].present
        ]

    def parse(self, arguments: list[str]) -> FlagValues:
        """Read a command line (without the program's name).

        Returns:
            The flag values, as attributes. `values[name].present` tells whether a flag was given.

        Raises:
            HelpRequested: `-h` or `--help` is among the arguments, whatever the others are.
            FlagError: an unknown flag, a left-over positional argument or a value that does not fit.
        """
        if any(argument in ("-h", "--help") for argument in arguments):
            raise HelpRequested(self.help())
        try:
            self.values(["program", *self._normalised(arguments)])
        except absl_flags.Error as error:
            raise FlagError(str(error).split("\n")[0]) from None
        return self.values

    def split_known(self, arguments: list[str]) -> tuple[list[str], list[str]]:
        """Part a command line into flags that are known here and the rest, for platforms that add flags of their own.

        Returns:
            The known flags as `--name=value`, and the arguments that were left out.
        """
        known: list[str] = []
        unknown: list[str] = []
        queue = list(arguments)
        while queue:
            argument = queue.pop(0)
            name = argument[2:].partition("=")[0] if argument.startswith("--") else ""
            target = known if self._aliases.get(name, name) in self._canonical_names() else unknown
            target.append(argument)
            if "=" not in argument and queue and not queue[0].startswith("--"):
                target.append(queue.pop(0))
        return self._normalised(known), unknown

    def help(self) -> str:
        """The text of `--help`."""
        lines = [self.description.strip(), "", "flags (--flag=value or --flag value):"]
        for name in sorted(self._canonical_names()):
            flag = self.values[name]
            aliases = [alias for alias, target in self._aliases.items() if target == name]
            default = "" if flag.default is None else f" (default {flag.default})"
            also = f"; also --{', --'.join(aliases)}" if aliases else ""
            lines.append(f"  --{name}: {flag.help}{default}{also}")
        return "\n".join(lines)

    _aliases: dict[str, str] = {}

    def _alias(self, name: str, aliases: Iterable[str]) -> None:
        self._aliases = dict(self._aliases, **dict.fromkeys(aliases, name))

    def _canonical_names(self) -> list[str]:
        return [name for name in self.values if name not in _ABSL_OWN_FLAGS]

    def _canonical(self, name: str) -> str:
        name = self._aliases.get(name, name)
        known = self._canonical_names()
        if name in known:
            return name
        near = difflib.get_close_matches(name, known + list(self._aliases), n=1)
        hint = f"; did you mean --{near[0]}?" if near else ""
        raise FlagError(f"unknown flag --{name}{hint} (--help lists all)")

    def _normalised(self, arguments: list[str]) -> list[str]:
        """Bring every argument into the form --name=value; the last of several wins, an empty value unsets."""
        chosen: dict[str, str] = {}
        queue = list(arguments)
        while queue:
            argument = queue.pop(0)
            if not argument.startswith("--") or argument == "--":
                raise FlagError(f"unexpected argument {argument!r}: flags are written --flag=value (--help lists all)")
            name, equals, value = argument[2:].partition("=")
            name = self._canonical(name)
            is_boolean = self.values[name].boolean
            if not equals:
                value = self._separate_value(name, is_boolean, queue)
            if is_boolean and value:
                value = _boolean_word(name, value)
            chosen.pop(name, None)
            if value:
                chosen[name] = value
        return [f"--{name}={value}" for name, value in chosen.items()]

    @staticmethod
    def _separate_value(name: str, is_boolean: bool, queue: list[str]) -> str:
        if is_boolean:
            follows = bool(queue) and queue[0].lower() in _TRUE_WORDS | _FALSE_WORDS
            return queue.pop(0) if follows else "true"
        if queue and not queue[0].startswith("--"):
            return queue.pop(0)
        if name == "data_path":  # a bare --data_path is the missing-data error, not a wrong flag
            return ""
        raise FlagError(f"--{name} needs a value: --{name}=VALUE")


_ABSL_OWN_FLAGS = set(FlagValues()) | {"flagfile", "undefok", "help", "helpfull", "helpshort", "helpxml"}


def _boolean_word(name: str, word: str) -> str:
    if word.lower() in _TRUE_WORDS:
        return "true"
    if word.lower() in _FALSE_WORDS:
        return "false"
    raise FlagError(f"--{name}={word}: expected true or false (yes, no, t, f, y, n, 1, 0)")


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
    """The flags of every train entry, besides data, output and device (DESIGN.md section 3)."""
    flags.integer("epochs", None, "passes over the training data", 1, aliases=["epoch", "train_epochs"])
    flags.integer("train_steps", None, "number of updates; whichever limit comes first ends the run", 1)
    flags.integer("batch_size", batch_size, "samples in a step", 1)
    flags.integer("seed", seed, "seed of the weights and of the order of the data")
    flags.choice("recipe", "reference", ["reference", "corrected"],
                 "reference computes what the original computes; corrected switches the corrections on")
    flags.string("resume", "auto", "auto goes on with an unfinished run of the same arguments; never sets it aside; "
                 "the path of a run directory goes on with that run")
    flags.choice("compute_dtype", "float32", ["float32", "bfloat16"], "dtype of the computation")
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


def find_data_folder(value: str, model_root: str, names: Iterable[str], has_data: Callable[[str], bool]) -> str:
    """Find the data folder: data_path itself, or one of the known names in it.

    Args:
        value: `--data_path`.
        model_root: folder of the model, searched for a relative path.
        names: sub-folders that users are known to have, for example `mnist`.
        has_data: tells whether a folder holds the data.

    Raises:
        ZooError: nothing found, or more than one candidate.
    """
    names = list(names)
    root = find_path("data_path", value, model_root)
    if not os.path.isdir(root):
        raise ZooError(f"--data_path={value}: is a file, expected a folder")
    folders = [root] + [os.path.join(root, *name.split("/")) for name in names]
    found = {os.path.realpath(folder): folder for folder in folders if os.path.isdir(folder) and has_data(folder)}
    if len(found) > 1:
        raise ZooError(f"--data_path={value}: data in {' and in '.join(found.values())}; name one of them")
    if not found:
        raise ZooError(f"--data_path={value}: no data in {root} or in a sub-folder {', '.join(names)}")
    return next(iter(found.values()))


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
