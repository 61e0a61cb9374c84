"""Run directories: which one a train entry asks for, and what is read from one.

A directory is a run if it holds our arguments.json; any other one is never written to, moved or deleted.
"""
from __future__ import annotations

import dataclasses
import json
import os
import sys
from typing import Any, Sequence

from common.cli.parser import FlagValues
from common.devices import npu_options
from common.devices.selection import Device, Rank
from common.errors import ZooError
from common.run import metrics

ARGUMENTS = "arguments.json"
_ARGUMENT_TYPES = {"identity": dict, "num_updates": int, "performance": bool, "started": str, "segments": list,
                   "threads": int}


def locate(output_path: str | None, model_root: str, device_id: str) -> str:
    """Return the run directory, `<output_path>/<device id>`; the id is not repeated when the path ends with it."""
    parent = os.path.abspath(os.path.expanduser(output_path or os.path.join(model_root, "test", "output")))
    return parent if os.path.basename(parent) == device_id else os.path.join(parent, device_id)


def is_run(path: str) -> bool:
    """Whether a directory is a run."""
    return os.path.isfile(os.path.join(path, ARGUMENTS))


def run_of_resume(resume: str) -> str | None:
    """Return the run directory that --resume=PATH names, None for auto and never.

    Raises:
        ZooError: the path is no run directory.
    """
    if resume in ("auto", "never"):
        return None
    path = os.path.abspath(os.path.expanduser(resume))
    if not is_run(path):
        raise ZooError(f"--resume={resume}: no run directory (it has no {ARGUMENTS}); expected auto, never or the "
                       "path of a run directory")
    return path


def read_arguments(path: str) -> dict[str, Any]:
    """Read a run's arguments.json.

    Raises:
        ZooError: the file is not one that a run writes.
    """
    name = os.path.join(path, ARGUMENTS)
    try:
        with open(name, encoding="utf-8") as file:
            arguments = json.load(file)
        for key, kind in _ARGUMENT_TYPES.items():
            if not isinstance(arguments[key], kind):
                raise TypeError(f"{key} is no {kind.__name__}")
    except (ValueError, KeyError, TypeError) as error:
        raise ZooError(f"{name}: is not a file that a run writes ({error}); move the folder away or give another "
                       "--output_path") from None
    return arguments


def is_finished(path: str) -> bool:
    """Whether a run reached its end: its last row is of kind `final`."""
    row = metrics.last_row(path)
    return row is not None and row["kind"] == "final"


@dataclasses.dataclass(frozen=True)
class RunRequest:
    """A run as its command line asks for it. Making one checks the flags that the run depends on and writes nothing.

    Attributes:
        script: path of the entry's file.
        network: name of the network in the result files.
        arguments: the command line, without the program's name.
        flags: the parsed flags.
        device: from `selection.choose`; whether "gpu" means a GPU is settled when the run is opened.
        npu_precision: the model's precision mode on an NPU when --precision_mode is unset.
        num_updates: updates that the run is to make.
        root: the model's folder; that of the script by default.
        rank: which of several processes this is, or which is the first one that it is to start.
        images_per_step: images in a step of all processes; --batch_size by default.
        gpu_precision: precision mode on a GPU when --precision_mode is unset, None for float32.
        path: the run directory; for a rank other than 0 the folder of its log, beside rank 0's run.
        options: what the flags ask of the NPU adapter.

    Raises:
        ZooError: --resume names no run.
        FlagError: an adapter flag that cannot work.
    """

    script: str
    network: str
    arguments: Sequence[str]
    flags: FlagValues
    device: Device
    npu_precision: str
    num_updates: int
    root: str = ""
    rank: Rank = Rank()
    images_per_step: int = 0
    gpu_precision: str | None = None
    path: str = dataclasses.field(init=False)
    options: npu_options.NpuOptions = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        defaults: dict[str, Any] = dict(root=self.root or os.path.dirname(os.path.abspath(self.script)),
                                        images_per_step=self.images_per_step or self.flags.batch_size)
        for name, value in defaults.items():
            object.__setattr__(self, name, value)
        path = self._locate()
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "options", npu_options.resolve(self.flags, self.root, path, self.npu_precision,
                                                                self.num_updates))

    def _locate(self) -> str:
        is_alone = self.rank.size == 1
        chief = locate(self.flags.output_path, self.root, self.device.id if is_alone else "0")
        if self.rank.is_chief:
            return run_of_resume(self.flags.resume) or chief
        if self.flags.resume not in ("auto", "never"):  # rank 0's run, which another machine need not have
            chief = os.path.abspath(os.path.expanduser(self.flags.resume))
        return os.path.join(os.path.dirname(chief), str(self.rank.number))

    @property
    def id(self) -> str:
        """Name of the run's folder and log: the device, or the rank in a job of several processes."""
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
        """The words of the command that started this process."""
        return [sys.executable, os.path.abspath(self.script), *self.arguments]
