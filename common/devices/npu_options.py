"""What the shared flags ask of the NPU adapter, checked before anything starts. No TensorFlow here."""
from __future__ import annotations

import dataclasses
import json
import os

from common.cli.parser import FlagValues
from common.cli.shared_flags import parse_dump_steps
from common.errors import FlagError

FLOAT16_MODES = ("allow_mix_precision", "allow_mix_precision_fp16")  # that mix float16 in
GPU_MODES = ("allow_mix_precision", "force_fp32")  # that have an effect on a GPU
MIXED_MODES = (*FLOAT16_MODES, "allow_mix_precision_bf16")
FOLDERS = DATA_DUMP, OVERFLOW_DUMP, PROFILING, TUNING = "data_dump", "overflow_dump", "profiling", "tuning"
_MIXLIST_LISTS = {"black-list", "white-list"}
_MIXLIST_ACTIONS = {"to-add", "to-remove"}


@dataclasses.dataclass(frozen=True)
class NpuOptions:
    """Options of the adapter, by what they do; `npu_tf1` and `npu_tf2` know what each version calls them.

    Attributes:
        precision_mode: the adapter's precision mode.
        mixlist_file: JSON file that changes the mixed-precision lists, or None.
        fusion_switch_file: JSON file that switches fusions, or None.
        data_dump_path: folder for dumps of the steps in `data_dump_step`, or None.
        data_dump_step: steps to dump, "10" or "0|5|10-20".
        over_dump_path: folder for dumps of overflowing ops, or None.
        profiling_path: folder for profiles, or None.
        tuning_path: folder that operator tuning works in, or None for no tuning.
    """

    precision_mode: str
    mixlist_file: str | None = None
    fusion_switch_file: str | None = None
    data_dump_path: str | None = None
    data_dump_step: str = "10"
    over_dump_path: str | None = None
    profiling_path: str | None = None
    tuning_path: str | None = None

    def without_diagnosis(self) -> NpuOptions:
        """These options without dumps and profiles, which on an NPU the adapter makes."""
        return dataclasses.replace(self, data_dump_path=None, over_dump_path=None, profiling_path=None)

    def make_folders(self) -> None:
        """Make the folders that the adapter expects to exist."""
        for folder in (self.data_dump_path, self.over_dump_path, self.profiling_path, self.tuning_path):
            if folder:
                os.makedirs(folder, exist_ok=True)


def resolve(flags: FlagValues, model_root: str, run_path: str, default_precision: str, num_updates: int) -> NpuOptions:
    """Check the adapter's flags and resolve their files and folders.

    Args:
        flags: parsed shared flags.
        model_root: folder of the model; its configs/ holds the default mixlist and fusion files.
        run_path: the run directory, parent of default folders. Nothing is made here.
        default_precision: the model's precision mode when the flag is unset.
        num_updates: updates of the run.

    Raises:
        FlagError: flags that exclude each other, or a file that is missing or cannot mean what it should.
    """
    if flags.over_dump and flags.data_dump_flag:
        raise FlagError("--over_dump and --data_dump_flag exclude each other: the adapter has one dump path for both")
    dump_steps = parse_dump_steps(flags.data_dump_step)
    if flags.data_dump_flag and not any(first <= num_updates for first, _ in dump_steps):
        raise FlagError(f"--data_dump_step={flags.data_dump_step}: the run has {num_updates} updates and reaches none "
                        "of these steps")
    precision_mode = flags.precision_mode
    if flags.use_mixlist:
        precision_mode = precision_mode or "allow_mix_precision"
        if precision_mode not in MIXED_MODES:
            raise FlagError(f"--use_mixlist changes the lists of a mixed mode, not of --precision_mode={precision_mode}"
                            f": take {' or '.join(MIXED_MODES)}")
    mixlist = fusion = None
    if flags.use_mixlist:
        mixlist = _config_file("mixlist_file", flags.mixlist_file, model_root)
        _check_mixlist(mixlist)
    if flags.fusion_off_flag:
        fusion = _config_file("fusion_off_file", flags.fusion_off_file, model_root)
        if not isinstance(_load_json("fusion_off_file", fusion).get("Switch"), dict):
            raise FlagError(f"--fusion_off_file: {fusion} has no object \"Switch\"")

    def folder(wanted: bool, given: str | None, name: str) -> str | None:
        if not wanted:
            return None
        return os.path.abspath(os.path.expanduser(given)) if given else os.path.join(run_path, name)

    return NpuOptions(
        precision_mode=precision_mode or default_precision,
        mixlist_file=mixlist,
        fusion_switch_file=fusion,
        data_dump_path=folder(flags.data_dump_flag, flags.data_dump_path, DATA_DUMP),
        data_dump_step=flags.data_dump_step,
        over_dump_path=folder(flags.over_dump, flags.over_dump_path, OVERFLOW_DUMP),
        profiling_path=folder(flags.profiling, flags.profiling_dump_path, PROFILING),
        tuning_path=folder(flags.auto_tune, None, TUNING),
    )


def without_effect(flags: FlagValues, device_kind: str) -> list[str]:
    """One line for each flag of the adapter that was given and does nothing on another device."""
    if device_kind == "npu":
        return []
    names = [name for name in ("use_mixlist", "fusion_off_flag", "auto_tune") if flags[name].value]
    if flags.precision_mode and not (device_kind == "gpu" and flags.precision_mode in GPU_MODES):
        names.append("precision_mode")
    return [f"Warning: --{name} has no effect on a {device_kind}" for name in names]


def profiling_options(folder: str) -> str:
    """Return the adapter's JSON for profiling; these keys are valid from CANN 5.0 to 9.1."""
    return json.dumps({"output": folder, "training_trace": "on", "task_trace": "on"})


def _config_file(flag: str, value: str, model_root: str) -> str:
    """A bare name is sought in the current directory, then in the model's configs/."""
    candidates = [os.path.abspath(os.path.expanduser(value))]
    if not os.path.dirname(value):
        candidates.append(os.path.join(model_root, "configs", value))
    for candidate in candidates:
        if os.path.isfile(candidate):
            return candidate
    raise FlagError(f"--{flag}={value}: no such file, looked for {' and '.join(candidates)}")


def _load_json(flag: str, path: str) -> dict:
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except ValueError as error:
        raise FlagError(f"--{flag}: {path} is no JSON ({error}); the adapter takes no comments") from None
    if not isinstance(content, dict):
        raise FlagError(f"--{flag}: {path} holds no JSON object")
    return content


def _check_mixlist(path: str) -> None:
    for section, actions in _load_json("mixlist_file", path).items():
        if section not in _MIXLIST_LISTS or not isinstance(actions, dict) or set(actions) - _MIXLIST_ACTIONS:
            wanted = f"{' and '.join(sorted(_MIXLIST_LISTS))} with {' and '.join(sorted(_MIXLIST_ACTIONS))}"
            raise FlagError(f"--mixlist_file: {path}: section {section!r}: expected {wanted}")
