"""Run directories: where they are, how a train entry requests one, and the arguments of an existing one.

A directory is a run if it holds an arguments.json. Any other directory is never written to, moved or deleted.
"""
from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from typing import Any, Sequence

from common.cli.parser import FlagValues
from common.devices import npu_options
from common.devices.selection import Device, Rank
from common.errors import FlagError, ZooError

ARGUMENTS = "arguments.json"
LOCK = ".lock"
TIME_FORMAT = "%Y%m%d-%H%M%S"
PROJECTOR = "projector"  # folder of the embeddings that an evaluation writes for TensorBoard
_ARGUMENT_TYPES = {"identity": dict, "num_updates": int, "performance": bool, "started": str, "segments": list,
                   "threads": int}


def locate(output_path: str | None, model_root: str, device_id: str) -> str:
    """Return the run directory, `<output_path>/<device id>`; the id is not repeated when the path ends with it."""
    parent = os.path.abspath(os.path.expanduser(output_path or os.path.join(model_root, "test", "output")))
    return parent if os.path.basename(parent) == device_id else os.path.join(parent, device_id)


def is_run(path: str) -> bool:
    """Whether a directory is a run."""
    return os.path.isfile(os.path.join(path, ARGUMENTS))


def read_arguments(path: str) -> dict[str, Any]:
    """Read the arguments.json of a run; raise ZooError if it is damaged or was not written by a run."""
    name = os.path.join(path, ARGUMENTS)
    try:
        with open(name, encoding="utf-8") as file:
            arguments = json.load(file)
        for key, kind in _ARGUMENT_TYPES.items():
            if not isinstance(arguments[key], kind):
                raise TypeError(f"{key} is not of type {kind.__name__}")
        time.strptime(arguments["started"], TIME_FORMAT)  # becomes part of a path
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ZooError(f"{name}: damaged, or not written by a run ({error}); move the folder away or choose another "
                       "--output_path") from None
    return arguments


@dataclasses.dataclass(frozen=True)
class RunRequest:
    """What a command line asks for. Creating one validates the flags that the run depends on and writes nothing.

    Raises ZooError if --resume does not name a run; FlagError for invalid adapter flags, or several steps in a call, or
    XLA, where that is impossible.
    """

    script: str  # path of the train entry
    network: str  # its name in the result files
    arguments: Sequence[str]  # the command line, without the program's name
    flags: FlagValues
    device: Device  # of `selection.choose`; whether "gpu" means a GPU is settled when the run is opened
    npu_precision: str  # precision mode on an NPU when --precision_mode is unset
    num_updates: int  # in all
    root: str = ""  # the model's folder; by default that of the script
    rank: Rank = Rank()  # of this process, or of the first process that it is to start
    images_per_step: int = 0  # over all processes; --batch_size by default
    gpu_precision: str | None = None  # precision mode on a GPU when --precision_mode is unset; None is float32
    path: str = dataclasses.field(init=False)  # the run directory; of other ranks than 0 the folder of the log beside
    options: npu_options.NpuOptions = dataclasses.field(init=False)  # of the NPU adapter, as requested

    def __post_init__(self) -> None:
        root = self.root or os.path.dirname(os.path.abspath(self.script))
        path = self._locate(root)
        options = npu_options.resolve(self.flags, root, path, self.npu_precision, self.num_updates)
        self._check_calls()
        images_per_step = self.images_per_step or self.flags.batch_size
        self.__dict__.update(root=root, path=path, options=options, images_per_step=images_per_step)  # it is frozen

    def _locate(self, root: str) -> str:
        resume, path = self.flags.resume, locate(self.flags.output_path, root, self.id if self.rank.is_chief else "0")
        if resume not in ("auto", "never"):
            path = os.path.abspath(os.path.expanduser(resume))
            if self.rank.is_chief and not is_run(path):  # for other ranks it may be on another machine only
                raise ZooError(f"--resume={resume}: not a run directory (it has no {ARGUMENTS}); expected auto, never "
                               "or the path of a run directory")
        return path if self.rank.is_chief else os.path.join(os.path.dirname(path), str(self.rank.number))

    def _check_calls(self) -> None:
        """Refuse several steps in a call, and XLA, where that is impossible."""
        flags, is_npu = self.flags, self.device.kind == "npu"
        names = [name for name in ("over_dump", "data_dump_flag", "profiling") if flags[name].value]
        diagnosis = " and ".join(f"--{name}" for name in names)
        if "steps_per_loop" in flags and flags.steps_per_loop > 1 and (is_npu or diagnosis):
            raise FlagError(f"--steps_per_loop={flags.steps_per_loop}: {'an NPU' if is_npu else diagnosis} needs one "
                            "step in a call; leave the flag out")
        obstacle = ("an NPU has its own compiler" if is_npu else "it is for one process" if self.rank.size > 1 else
                    "XLA leaves out the checks of --over_dump" if flags.over_dump else "")
        if flags.jit_compile and obstacle:
            raise FlagError(f"--jit_compile: {obstacle}; leave the flag out")

    @property
    def id(self) -> str:
        """The device id, or the rank if there are several processes; names the run directory and its log."""
        return str(self.rank.number) if self.rank.size > 1 else self.device.id

    @property
    def performance(self) -> bool:
        """Whether this is a speed run: no evaluation, never resumed."""
        return self.flags.performance

    @property
    def case_name(self) -> str:
        """CaseName of the result files, `<Network>_bs<batch>_<ranks>p_<acc|perf>`."""
        kind = "perf" if self.performance else "acc"
        return f"{self.network}_bs{self.flags.batch_size}_{self.rank.size}p_{kind}"

    @property
    def command(self) -> list[str]:
        """The command that started this process."""
        return [sys.executable, os.path.abspath(self.script), *self.arguments]
