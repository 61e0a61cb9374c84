"""Options of the adapters, version by version, from the two JSON files in tests/golden/npu.

The files were taken from the adapters themselves; their `semantics` and `validation_semantics` describe what each
adapter does with a wrong value.
"""
from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
from typing import Any, Iterator, Mapping, NamedTuple

_PROFILING_SWITCHES = ("training_trace", "task_trace", "task_time", "hccl", "aicpu", "l2", "msproftx", "runtime_api")
_PROFILING_TEXTS = ("output", "storage_limit", "fp_point", "bp_point", "aic_metrics")
_AIC_METRICS = ("ArithmeticUtilization", "PipeUtilization", "Memory", "MemoryL0", "MemoryUB", "ResourceConflictRatio",
                "L2Cache")
_GOLDEN = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "golden", "npu")


class AdapterError(RuntimeError):
    """The real adapter refuses this too."""


class SilentlyAccepted(AssertionError):
    """STRICTER than the real adapter, which takes this and ignores it, or lets it fail much later."""


class ProcessAborted(SystemExit):
    """The real adapter aborts the process here: LOG(FATAL), SIGABRT, no Python exception."""

    def __init__(self, text: str):
        super().__init__(134)
        self.text = text

    def __str__(self) -> str:
        return self.text


@dataclasses.dataclass(frozen=True)
class Version:
    """A version of the adapters.

    Attributes:
        name: value of ZOO_FAKE_ADAPTER.
        snapshot: its key in npu_device_options.json.
        ref: its name in npu_bridge_session_options.json.
        mixed_modes: precision modes that a mixlist belongs to.
        has_compat: npu_device.compat and its enable_v1 exist, and open() guards against a second opening.
        has_type_errors: a value of a wrong type raises TypeError, before that ValueError.
        logs_compilation: prints a line for each graph that it compiles.
        knows_chief: ranks can also be set up by CM_WORKER_SIZE, CM_CHIEF_IP and their like.
        knows_inf_nan: its loss scaling asks whether the device makes infinities.
        aborts_early: bad dump folders and missing profiling options abort the process.
    """

    name: str
    snapshot: str
    ref: str
    mixed_modes: tuple[str, ...] = ("allow_mix_precision", "allow_mix_precision_fp16", "allow_mix_precision_bf16")
    has_compat: bool = True
    has_type_errors: bool = True
    logs_compilation: bool = True
    knows_chief: bool = True
    knows_inf_nan: bool = True
    aborts_early: bool = False


_BEFORE_R1_12 = dict(mixed_modes=("allow_mix_precision",), has_type_errors=False, knows_chief=False,
                     knows_inf_nan=False)
VERSIONS = {
    version.name: version
    for version in (
        Version("r1.6", "Ascend/tensorflow@r1.6.0", "A:r1.6.0", has_compat=False, logs_compilation=False,
                aborts_early=True, **_BEFORE_R1_12),
        Version("r1.8", "Ascend/tensorflow@r1.8.0", "A:r1.8.0", **_BEFORE_R1_12),
        Version("r1.12", "Ascend/tensorflow@r1.12.0", "A:r1.12.0", has_type_errors=False, knows_inf_nan=False),
        Version("tfa_v0.0.20", "Ascend/tensorflow@tfa_v0.0.20_7.0.0.alpha003", "A:tfa_v0.0.20_7.0.0.alpha003"),
        Version("hicann", "hicann/tensorflow@master", "H:master"),
        Version("tf2.13", "hicann/tensorflow@dev/tf2.13-CANN9.0.0", "H:dev/tf2.13-CANN9.0.0"),
    )
}


class SessionKey(NamedTuple):
    """A key of NpuOptimizer's parameter_map: the field of AttrValue it is read from, its values if they are listed."""

    field: str
    allowed: list | None
    aborts: bool


class Problem(NamedTuple):
    """Something wrong with a set of options, and what the graph adapter does: "ignores", "refuses" or "aborts".

    The Python part of the eager adapter ignores all of them.
    """

    text: str
    graph_adapter: str = "ignores"


def version() -> Version:
    """The version to fake."""
    return VERSIONS[os.environ.get("ZOO_FAKE_ADAPTER", "hicann")]


@functools.lru_cache(maxsize=None)
def _load(name: str) -> dict:
    with open(os.path.join(_GOLDEN, name), encoding="utf-8") as file:
        return json.load(file)


def snapshot(of: Version) -> dict:
    """The recorded options, defaults and behaviour of npu_device.global_options()."""
    return _load("npu_device_options.json")["snapshots"][of.snapshot]


@functools.lru_cache(maxsize=None)
def session_keys(of: Version) -> dict[str, SessionKey]:
    """The keys that NpuOptimizer of this version reads."""
    table = _load("npu_bridge_session_options.json")
    refs = table["_about"]["refs"]
    keys = {}
    for name, key in table["keys"].items():
        seen = refs.index(key["first_seen"]) <= refs.index(of.ref) <= refs.index(key["last_seen"])
        if not seen or of.ref in key["missing_in_between"]:
            continue
        if "deprecated_in_hicann" in key and of.ref.startswith("H:"):  # STRICTER: still read there
            continue
        # STRICTER: still read, but tunes nothing since r1.11
        if name == "auto_tune_mode" and of.name not in ("r1.6", "r1.8"):
            continue
        fields = [field for field, where in key.get("field_history", {}).items() if of.ref in where] or [key["field"]]
        # STRICTER for aoe_mode before hicann, which also took "3" or "mdat".
        allowed = key["allowed"] if isinstance(key["allowed"], list) else None
        if name == "precision_mode":  # STRICTER for r1.6, which leaves the check to the graph engine
            allowed = snapshot(of)["options"]["precision_mode"]["allowed"]
        keys[name] = SessionKey(fields[0], allowed, "FATAL" in key["notes"])
    return keys


def problems(options: Mapping[str, Any], of: Version) -> Iterator[Problem]:
    """Check what belongs together. Names are the same in both adapters, but for the switch of profiling.

    Args:
        options: the options that are set, by name without the name of a sub-config.
        of: the adapter's version.
    """
    for name in ("dump_path", "dump_step", "modify_mixlist", "fusion_switch_file", "profiling_options", "work_path"):
        if name in options and not isinstance(options[name], str):
            yield Problem(f"{name}={options[name]!r}: no str")
            return
    if "precision_mode" in options and "precision_mode_v2" in options:
        yield Problem("precision_mode and precision_mode_v2 exclude each other", "refuses")
    yield from _dump_problems(options, of)
    yield from _mixlist_problems(options, of)
    yield from _fusion_problems(options)
    yield from _profiling_problems(options, of)
    if options.get("aoe_mode"):
        yield from _folder_problems("work_path", options.get("work_path", "./"), "aborts")


def product() -> str:
    """The product to fake."""
    return os.environ.get("ZOO_FAKE_PRODUCT", "A2")


def num_ranks(environment: Mapping[str, str]) -> int:
    """How many processes npu_device.open() takes the job for."""
    chief_size = environment.get("CM_WORKER_SIZE", "1") if version().knows_chief else "1"
    return int(environment.get("RANK_SIZE", chief_size))


def check_ranks(environment: Mapping[str, str]) -> None:
    """Refuse what npu_device.open() refuses of the ranks' environment.

    Raises:
        RuntimeError: neither a rank table nor a chief, or both; a table and no rank; a chief without port or device.
        ValueError: RANK_SIZE is no number, for example empty; two sizes are given.
        SilentlyAccepted: the table is not that of these ranks, or the product cannot do it, which shows only when HCCL
            starts.
    """
    knows_chief = version().knows_chief
    if knows_chief and "RANK_SIZE" in environment and "CM_WORKER_SIZE" in environment:
        raise ValueError("RANK_SIZE and CM_WORKER_SIZE cannot be configured at the same time")
    size = num_ranks(environment)
    if size <= 1:
        return  # the table is not looked at
    has_chief = knows_chief and "CM_CHIEF_IP" in environment
    if has_chief == ("RANK_TABLE_FILE" in environment):
        raise RuntimeError("You must specify CM_CHIEF_IP or RANK_TABLE_FILE in distribution mode, one of them"
                           if knows_chief else "You must specify RANK_TABLE_FILE in distribution mode")
    for name in ("CM_CHIEF_PORT", "CM_CHIEF_DEVICE") if has_chief else ("RANK_ID",):
        if name not in environment:
            raise RuntimeError(f"You must specify {name} in distribution mode")
    if has_chief and product() not in ("910A", "A2"):
        raise SilentlyAccepted(f"{product()} needs a rank table, not CM_CHIEF_IP")
    if not has_chief:
        _check_rank_table(environment["RANK_TABLE_FILE"], size, environment["RANK_ID"])


def check_session_ranks(environment: Mapping[str, str]) -> None:
    """Refuse what makes a session something else than the program meant: of several ranks, or of one device alone.

    A session joins HCCL's job with any rank table or chief, also where it is the only rank.

    Raises:
        SilentlyAccepted: a session of one device joins a job, or one of several ranks does not.
    """
    table, chief = environment.get("RANK_TABLE_FILE"), environment.get("CM_CHIEF_IP")
    if table and chief:
        raise SilentlyAccepted("CM_CHIEF_IP and RANK_TABLE_FILE cannot be configured at the same time: an error is "
                               "logged and the session is one of a single device")
    size = _number(environment.get("RANK_SIZE") or environment.get("CM_WORKER_SIZE"), default=1)
    has_chief = all(environment.get(f"CM_CHIEF_{name}") for name in ("IP", "PORT", "DEVICE"))
    joins = bool(table) and "CM_WORKER_SIZE" not in environment or has_chief and "RANK_SIZE" not in environment
    if joins and size <= 1:
        raise SilentlyAccepted(f"the session of one device joins HCCL's job of {table or chief}")
    if size > 1 and not joins:
        raise SilentlyAccepted(f"{size} ranks without a rank table: each session is one of a single device")


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isdigit() else default


def _check_rank_table(path: str, size: int, rank: str) -> None:
    table = _json_object(path)
    if table is None:
        raise SilentlyAccepted(f"RANK_TABLE_FILE={path}: no file with a JSON object")
    devices = [device for server in table.get("server_list", []) for device in server["device"]]
    found = sorted(device["rank_id"] for device in devices)
    if "group_list" not in table and (len(found) != size or rank not in found):
        raise SilentlyAccepted(f"RANK_TABLE_FILE={path}: has the ranks {found} of {size}")
    for server in table.get("server_list", []) if product() == "910A" else []:
        cards = [int(device["device_id"]) for device in server["device"]]
        if len(cards) not in (1, 2, 4, 8) or len(cards) < 8 and len({card // 4 for card in cards}) > 1:
            raise SilentlyAccepted(f"cards {cards} of an Ascend 910A server cannot work together")


def _dump_problems(options: Mapping[str, Any], of: Version) -> Iterator[Problem]:
    steps, overflows = options.get("enable_dump"), options.get("enable_dump_debug")
    if steps and overflows:
        yield Problem("enable_dump and enable_dump_debug exclude each other: they share one dump_path")
    if steps or overflows:
        yield from _folder_problems("dump_path", options.get("dump_path", ""), "aborts" if of.aborts_early else
                                    "refuses")
    if steps and "dump_step" in options and not _is_dump_step(options["dump_step"]):
        yield Problem(f"dump_step={options['dump_step']!r}: expected 0|5|10-20, rising, at most 100 items", "aborts")


def _is_dump_step(text: str) -> bool:
    if not re.fullmatch(r"\d+(-\d+)?(\|\d+(-\d+)?)*", text):
        return False
    ranges = [[int(number) for number in item.split("-")] for item in text.split("|")]
    return len(ranges) <= 100 and all(len(ends) == 1 or ends[0] < ends[1] for ends in ranges)


def _folder_problems(name: str, path: str, graph_adapter: str) -> Iterator[Problem]:
    if not path:
        yield Problem(f"{name} is not set", graph_adapter)
    elif not os.path.isdir(path):
        yield Problem(f"{name}={path}: no such folder", graph_adapter)
    elif not os.access(path, os.R_OK | os.W_OK):
        yield Problem(f"{name}={path}: cannot be read and written", graph_adapter)


def _mixlist_problems(options: Mapping[str, Any], of: Version) -> Iterator[Problem]:
    if "modify_mixlist" not in options:
        return
    mixed_v2 = str(options.get("precision_mode_v2", "")).startswith("mixed_")
    if options.get("precision_mode") not in of.mixed_modes and not mixed_v2:
        yield Problem(f"modify_mixlist needs a precision_mode in {of.mixed_modes}", "refuses")
    content = _json_object(options["modify_mixlist"])
    if content is None:
        yield Problem(f"modify_mixlist={options['modify_mixlist']}: no file with a JSON object")
        return
    for section, actions in content.items():
        if section not in ("black-list", "white-list") or not isinstance(actions, dict):
            yield Problem(f"modify_mixlist: section {section!r}")
        elif set(actions) - {"to-add", "to-remove"} or not all(isinstance(names, list) for names in actions.values()):
            yield Problem(f"modify_mixlist: {section!r} has {actions!r}")


def _fusion_problems(options: Mapping[str, Any]) -> Iterator[Problem]:
    if "fusion_switch_file" not in options:
        return
    content = _json_object(options["fusion_switch_file"])
    if content is None or not isinstance(content.get("Switch"), dict):
        yield Problem(f"fusion_switch_file={options['fusion_switch_file']}: no file with a JSON object \"Switch\"")


def _json_object(path: str) -> dict | None:
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _profiling_problems(options: Mapping[str, Any], of: Version) -> Iterator[Problem]:
    if not (options.get("profiling_mode") or options.get("enable_profiling")):
        return
    if not options.get("profiling_options"):
        yield Problem("profiling_options must be set when use profiling", "aborts" if of.aborts_early else "ignores")
        return
    try:
        profile = json.loads(options["profiling_options"])
    except ValueError:
        profile = None
    if not isinstance(profile, dict):
        yield Problem(f"profiling_options={options['profiling_options']}: no JSON object")
        return
    for name, value in profile.items():
        if name in _PROFILING_SWITCHES and value not in ("on", "off"):
            yield Problem(f"profiling_options: {name}={value!r} is neither \"on\" nor \"off\"")
        elif name == "aic_metrics" and value not in _AIC_METRICS:
            yield Problem(f"profiling_options: aic_metrics={value!r}, expected one of {_AIC_METRICS}")
        elif name not in _PROFILING_SWITCHES + _PROFILING_TEXTS:
            yield Problem(f"profiling_options: unknown key {name!r}")
    if profile.get("training_trace") == "on" and not {"fp_point", "bp_point"} <= set(profile):
        yield Problem("profiling_options: training_trace needs fp_point and bp_point, which may be empty")
    if profile.get("task_trace") == "on" and profile.get("training_trace") != "on":
        yield Problem("profiling_options: task_trace needs training_trace")
    yield from _folder_problems("profiling_options: output", profile.get("output", ""), "ignores")
