"""What the shared flags ask of the NPU adapter, checked before anything starts; dumps and profiles on other devices."""
from __future__ import annotations

import dataclasses
import json
import os
import re
from typing import Any, Mapping

import numpy as np

from common.cli import shared_flags
from common.cli.parser import FlagValues
from common.devices import selection
from common.errors import FlagError, ZooError

ADAPTER_DEFAULT = "adapter_default"
FLOAT16_MODES = ("allow_mix_precision", "allow_mix_precision_fp16", "mixed_float16")  # that mix float16 in
FLOAT32_MODES = ("force_fp32", "must_keep_origin_dtype", "origin")
INFERENCE_MODES = ("force_fp16", "fp16")
GPU_MODES = ("allow_mix_precision", "force_fp32")  # that have an effect on a GPU
MIXED_MODES = (*FLOAT16_MODES, "allow_mix_precision_bf16", "mixed_bfloat16", "mixed_hif8")
FOLDERS = DATA_DUMP, OVERFLOW_DUMP, PROFILING, TUNING = "data_dump", "overflow_dump", "profiling", "tuning"
_FIRST_VERSIONS = {"deterministic": "r1.12", "precision_mode_v2": "r1.13"}
LAST_PROFILED_UPDATE = 10  # on other devices
_DUMP_STEP = re.compile(r"\d+(-\d+)?(\|\d+(-\d+)?)*")
_MIXLIST_LISTS = {"black-list", "white-list"}
_MIXLIST_ACTIONS = {"to-add", "to-remove"}


@dataclasses.dataclass(frozen=True)
class NpuOptions:
    """Options of the adapter, by what they do; `npu.py` of graph/ and of keras/ know each version's names for them.

    Nothing is dumped, profiled or tuned without its folder. None leaves all else to the adapter.
    """

    precision_mode: str | None  # None also if there is a precision_mode_v2
    mixlist_file: str | None = None  # JSON file that changes the mixed-precision lists
    fusion_switch_file: str | None = None  # JSON file that switches fusions
    data_dump_path: str | None = None  # folder for dumps of some steps
    data_dump_step: str = "10"  # these steps, "10" or "0|5|10-20"
    over_dump_path: str | None = None  # folder for dumps of overflowing ops
    profiling_path: str | None = None  # folder for profiles
    tuning_path: str | None = None  # folder that operator tuning works in
    cache_path: str | None = None  # folder of compiled operators
    precision_mode_v2: str | None = None
    hf32: bool | None = None  # whether float32 products and convolutions are computed in HF32
    deterministic: bool = False  # whether to compute the same bits in every run

    @property
    def precision(self) -> str:
        """Name the precision that an NPU computes in."""
        mode = self.precision_mode_v2 or self.precision_mode or ADAPTER_DEFAULT
        return mode if self.hf32 is None else f"{mode}, {'with' if self.hf32 else 'without'} HF32"

    @property
    def choices(self) -> dict[str, str | int]:
        """The options that not every version of the adapter has, or not with this value, as far as they are set."""
        choices = dict(precision_mode=self.precision_mode, precision_mode_v2=self.precision_mode_v2,
                       deterministic=int(self.deterministic))
        return {name: value for name, value in choices.items() if value}

    @property
    def settings(self) -> dict[str, str | bool]:
        """The other options that all adapters call by the same name, as far as they are set."""
        settings = dict(
            modify_mixlist=self.mixlist_file, fusion_switch_file=self.fusion_switch_file,
            op_compiler_cache_dir=self.cache_path, op_compiler_cache_mode=self.cache_path and "enable",
            enable_dump=bool(self.data_dump_path), dump_step=self.data_dump_path and self.data_dump_step,
            dump_mode=self.data_dump_path and "all", dump_path=self.data_dump_path or self.over_dump_path,
            enable_dump_debug=bool(self.over_dump_path), dump_debug_mode=self.over_dump_path and "all")
        return {name: value for name, value in settings.items() if value}

    @property
    def mixes_float16(self) -> bool:
        """Whether float16 is mixed in, so that the loss should be scaled."""
        return (self.precision_mode_v2 or self.precision_mode) in FLOAT16_MODES

    def make_folders(self) -> None:
        """Create the folders; the adapter, too, expects them to exist."""
        for folder in (self.data_dump_path, self.over_dump_path, self.profiling_path, self.tuning_path,
                       self.cache_path):
            if folder:
                os.makedirs(folder, exist_ok=True)


def resolve(flags: FlagValues, model_root: str, run_path: str, default_precision: str, num_updates: int) -> NpuOptions:
    """Check the adapter's flags and resolve their files and folders; nothing is made here.

    The model's configs/ holds the default mixlist and fusion files, the run directory the default folders. Raises
    FlagError for flags that exclude each other, or a file that is missing or cannot mean what it should.
    """
    if flags.over_dump and flags.data_dump_flag:
        raise FlagError("--over_dump and --data_dump_flag exclude each other: the adapter has one dump path for both")
    dump_steps = parse_dump_steps(flags.data_dump_step)
    if flags.data_dump_flag and not any(first <= num_updates for first, _ in dump_steps):
        raise FlagError(f"--data_dump_step={flags.data_dump_step}: the run has {num_updates} updates and reaches none "
                        "of these steps")
    precision_mode, precision_mode_v2 = _precision_modes(flags, default_precision)
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
        precision_mode=precision_mode,
        mixlist_file=mixlist,
        fusion_switch_file=fusion,
        data_dump_path=folder(flags.data_dump_flag, flags.data_dump_path, DATA_DUMP),
        data_dump_step=flags.data_dump_step,
        over_dump_path=folder(flags.over_dump, flags.over_dump_path, OVERFLOW_DUMP),
        profiling_path=folder(flags.profiling, flags.profiling_dump_path, PROFILING),
        tuning_path=folder(flags.auto_tune, None, TUNING),
        cache_path=folder(bool(flags.op_compiler_cache_dir), flags.op_compiler_cache_dir, ""),
        precision_mode_v2=precision_mode_v2,
        hf32=flags.hf32,
        deterministic=flags.deterministic,
    )


def _precision_modes(flags: FlagValues, default: str) -> tuple[str | None, str | None]:
    """Return the adapter's precision_mode and precision_mode_v2, of which one at most is set."""
    mode, mode_v2 = flags.precision_mode, flags.precision_mode_v2
    if mode and mode_v2:
        raise FlagError("--precision_mode and --precision_mode_v2 exclude each other")
    name = "precision_mode_v2" if mode_v2 else "precision_mode"
    chosen = mode_v2 or mode or ("allow_mix_precision" if flags.use_mixlist else default)
    if flags.use_mixlist and chosen not in MIXED_MODES:
        known = shared_flags.PRECISION_MODES_V2 if mode_v2 else shared_flags.PRECISION_MODES
        raise FlagError(f"--use_mixlist changes the lists of a mixed mode, not of --{name}={chosen}: use "
                        f"{' or '.join(mode for mode in MIXED_MODES if mode in known)}")
    if mode_v2:
        return None, mode_v2
    return (None if chosen == ADAPTER_DEFAULT else chosen), None


def notices(flags: FlagValues, options: NpuOptions, device_kind: str) -> list[str]:
    """Return lines to print: flags that have no effect on the device; on an NPU, what a precision means there."""
    if device_kind == "npu":
        return _precision_notices(options, selection.find_product(flags.npu_product))
    names = [name for name in ("use_mixlist", "fusion_off_flag", "auto_tune", "precision_mode_v2",
                               "op_compiler_cache_dir") if flags[name].value]
    names += ["hf32"] if flags.hf32 is not None else []
    if flags.precision_mode and not (device_kind == "gpu" and flags.precision_mode in GPU_MODES):
        names.append("precision_mode")
    return [f"Warning: --{name} has no effect on a {device_kind}" for name in names]


def _precision_notices(options: NpuOptions, product: str | None) -> list[str]:
    mode = options.precision_mode_v2 or options.precision_mode
    lines = []
    if mode is None:
        lines.append(f"Notice: the adapter's default precision is {_default_precision(product)}; adapters "
                     "older than r1.13 use allow_fp32_to_fp16 on every product")
    if mode in INFERENCE_MODES:
        lines.append(f"Warning: {mode} is documented for inference; training may diverge")
    keeps_float32 = mode in FLOAT32_MODES or mode is None
    if keeps_float32 and options.hf32 is None and product != "910A":
        lines.append("Notice: on Atlas A2 and newer, float32 convolutions are computed in HF32; --hf32=False computes "
                     "them in float32")
    return lines


def _default_precision(product: str | None) -> str:
    """Describe the precision that an adapter computes in when none is set."""
    if product is None:
        return "allow_fp32_to_fp16 on Ascend 910A, must_keep_origin_dtype on A2, A3 and 950"
    return "allow_fp32_to_fp16" if product == "910A" else "must_keep_origin_dtype"


def require_known(config: Any, name: str, value: str | int) -> None:
    """Raise FlagError unless this npu_device, by its `global_options()`, has an option with this value."""
    if not hasattr(config, name):
        raise unknown_option("npu_device", name, value)
    known = getattr(config, name).optional  # reading gives the option with its choices, not its value
    if value not in known:
        raise FlagError(f"--{name}={value}: this npu_device knows {', '.join(known)}")


def unknown_option(adapter: str, name: str, value: str | int) -> FlagError:
    """Return the error that explains an option which an installed adapter does not know."""
    flag = f"--{name}" if value == 1 else f"--{name}={value}"
    return FlagError(f"{flag}: this {adapter} has no {name}, it is older than {_FIRST_VERSIONS[name]}; remove the "
                     "flag")


def profiling_options(folder: str) -> str:
    """Return the adapter's JSON for profiling, with what the adapters and the originals profile.

    CANN refuses the whole of it for one key that it does not know; its sources of 2022 to 2024 know these. Empty points
    let it find the first operator of the forward pass and the last one of the backward pass.
    """
    return json.dumps(dict(output=folder, training_trace="on", task_trace="on", task_time="on", hccl="on", aicpu="on",
                           aic_metrics="PipeUtilization", fp_point="", bp_point=""))


def parse_dump_steps(text: str) -> list[tuple[int, int]]:
    """Parse steps such as `0|5|10-20` into ranges that include both ends; FlagError if that is impossible."""
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


def _config_file(flag: str, value: str, model_root: str) -> str:
    """Find a file; a bare name is looked up in the current directory, then in the configs/ of the model."""
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
    except (ValueError, RecursionError) as error:
        raise FlagError(f"--{flag}: {path} is not JSON ({error}); the adapter takes no comments") from None
    if not isinstance(content, dict):
        raise FlagError(f"--{flag}: {path} is not a JSON object")
    return content


def _check_mixlist(path: str) -> None:
    for section, actions in _load_json("mixlist_file", path).items():
        if section not in _MIXLIST_LISTS or not isinstance(actions, dict) or set(actions) - _MIXLIST_ACTIONS:
            wanted = f"{' and '.join(sorted(_MIXLIST_LISTS))} with {' and '.join(sorted(_MIXLIST_ACTIONS))}"
            raise FlagError(f"--mixlist_file: {path}: section {section!r}: expected {wanted}")


class DebugPlan:
    """What over_dump, data_dump and profiling do at each update on GPUs and CPUs; updates count from 1."""

    def __init__(self, options: NpuOptions, num_updates: int):
        """Plan a run of `num_updates`; the folders of the options exist."""
        self.options = options
        self._profiled_update = min(LAST_PROFILED_UPDATE, num_updates)
        self._dump_steps = parse_dump_steps(options.data_dump_step) if options.data_dump_path else []

    def dumps(self, update: int) -> bool:
        """Whether tensors are dumped."""
        return any(first <= update <= last for first, last in self._dump_steps)

    def profiles(self, update: int) -> bool:
        """Whether the update is profiled."""
        return bool(self.options.profiling_path) and update == self._profiled_update

    def write_dump(self, values: Mapping[str, np.ndarray], update: int) -> None:
        """Write tensors, by name, as .npy files."""
        assert self.options.data_dump_path is not None
        folder = os.path.join(self.options.data_dump_path, f"step-{update}")
        os.makedirs(folder, exist_ok=True)
        for name, value in values.items():
            np.save(os.path.join(folder, name.replace("/", ".") + ".npy"), value, allow_pickle=False)

    def overflow(self, summary: str, message: str, update: int) -> ZooError:
        """Write TensorFlow's message about a NaN or infinity to a file, and return the error to raise."""
        assert self.options.over_dump_path is not None
        path = os.path.join(self.options.over_dump_path, f"overflow-step-{update}.txt")
        with open(path, "w", encoding="utf-8") as file:
            file.write(message + "\n")
        return ZooError(f"overflow at step {update}: {summary}; details in {path}")
