"""What every train entry does between its flags and its model, whatever it is built with: run directory and log."""
from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import platform
import sys
from typing import Any, Iterator, Mapping, Sequence

import numpy as np

from common.cli.parser import FlagValues
from common.devices import npu_options, selection
from common.devices.ranks import Rank
from common.errors import ZooError
from common.run import run_dir


@dataclasses.dataclass(frozen=True)
class Entry:
    """A train entry, as its run directory records it.

    Attributes:
        script: path of the entry's file; its folder is the model's root.
        network: name of the network in the result files.
        npu_precision: the model's precision mode on an NPU when the flag is unset.
        arguments: the command line, without the program's name.
        folder: the model's root when the entry's file lies deeper.
        rank: which of several processes this is, or which the first is that it is to start.
    """

    script: str
    network: str
    npu_precision: str
    arguments: Sequence[str]
    folder: str | None = None
    rank: Rank = Rank()

    @property
    def root(self) -> str:
        """The model's folder."""
        return self.folder or os.path.dirname(os.path.abspath(self.script))


@dataclasses.dataclass(frozen=True)
class Plan:
    """A run that is asked for, checked as far as that goes without touching anything.

    Attributes:
        entry: the train entry.
        flags: its parsed flags.
        device: the settled device.
        path: the run directory; of a rank other than 0 the folder of its log, beside it.
        options: what the flags ask of the NPU adapter.
        precision: the precision in effect.
        num_updates: updates that the run is to make.
    """

    entry: Entry
    flags: FlagValues
    device: selection.Device
    path: str
    options: npu_options.NpuOptions
    precision: str
    num_updates: int

    @property
    def id(self) -> str:
        """Name of the folder and its log: the device, and in a job of several processes the rank."""
        return str(self.entry.rank.number) if self.entry.rank.size > 1 else self.device.id


def plan(entry: Entry, flags: FlagValues, device: selection.Device, num_updates: int) -> Plan:
    """Check the flags that a run directory and an adapter depend on.

    Raises:
        ZooError: --resume names no run, or an adapter's flag cannot mean what it should.
    """
    path = _locate(entry, flags, device)
    options = npu_options.resolve(flags, entry.root, path, entry.npu_precision, num_updates)
    precision = selection.precision_in_effect(device, flags.precision_mode, options.precision_mode)
    return Plan(entry, flags, device, path, options, precision, num_updates)


def _locate(entry: Entry, flags: FlagValues, device: selection.Device) -> str:
    chief_id = "0" if entry.rank.size > 1 else device.id
    if entry.rank.is_chief:
        return run_dir.run_of_resume(flags.resume) or run_dir.locate(flags.output_path, entry.root, chief_id)
    if flags.resume in ("auto", "never"):
        chief = run_dir.locate(flags.output_path, entry.root, chief_id)
    else:  # rank 0's, which another machine need not have
        chief = os.path.abspath(os.path.expanduser(flags.resume))
    return os.path.join(os.path.dirname(chief), str(entry.rank.number))


@dataclasses.dataclass(frozen=True)
class Started:
    """A process that has its device, and what its flags ask of the NPU adapter."""

    device: selection.Device
    options: npu_options.NpuOptions

    @property
    def diagnosis(self) -> npu_options.NpuOptions:
        """What dumps and profiles are to be made here; none on an NPU, where the adapter makes them."""
        return self.options.without_diagnosis() if self.device.kind == "npu" else self.options


@dataclasses.dataclass(frozen=True)
class OpenRun(Started):
    """An open run, in the process that writes it."""

    run: run_dir.RunDir


@contextlib.contextmanager
def open_run(planned: Plan, tensorflow: str, identity: Mapping[str, Any], notices: Sequence[str]
             ) -> Iterator[run_dir.RunDir]:
    """Open the run directory and print the first lines; all output goes to the log as well until the block ends.

    Args:
        planned: the plan.
        tensorflow: TensorFlow's version.
        identity: what the model adds to what a run must share with one it goes on with.
        notices: lines to print after the first.
    """
    entry, flags, device = planned.entry, planned.flags, planned.device
    request = run_dir.Request(
        path=planned.path,
        identity=dict(identity, model=os.path.basename(entry.root), recipe=flags.recipe, seed=flags.seed,
                      batch_size=flags.batch_size, precision=planned.precision, device=device.kind,
                      tensorflow=tensorflow),
        num_updates=planned.num_updates,
        performance=flags.performance,
        resume=flags.resume,
        information=dict(flags={name: flags[name].value for name in sorted(flags)}, threads=selection.num_cpus(),
                         device_id=device.id, adapter=device.adapter, platform=platform.platform(),
                         versions=dict(python=platform.python_version(), tensorflow=tensorflow, numpy=np.__version__),
                         git_revision=run_dir.git_revision(entry.root)),
        command=(sys.executable, os.path.abspath(entry.script), *entry.arguments),
    )
    run = run_dir.open_run(request, planned.id)
    try:
        with run.log():
            print(selection.describe(device, tensorflow, planned.precision))
            print(f"Python {platform.python_version()} ({sys.executable})")
            print(f"Run directory: {run.path}" + (" (going on)" if run.resumed else ""))
            for notice in (*run.notices, *npu_options.without_effect(flags, device.kind), *notices):
                print(notice)
            if device.kind == "npu":
                planned.options.make_folders()  # elsewhere what needs them makes them
            yield run
    finally:
        run.close()


@contextlib.contextmanager
def open_helper(planned: Plan, tensorflow: str, notices: Sequence[str]) -> Iterator[None]:
    """Print the first lines of a rank other than 0; all output goes to `<rank>/train_<rank>.log` beside rank 0's run.

    Raises:
        ZooError: that folder is a run or holds something else, or another process writes there.
    """
    name = f"train_{planned.id}.log"
    with _locked_log(planned.path, name), run_dir.logged(os.path.join(planned.path, name)):
        print(selection.describe(planned.device, tensorflow, planned.precision))
        for notice in notices:
            print(notice)
        if planned.device.kind == "npu":
            planned.options.make_folders()
        yield


@contextlib.contextmanager
def _locked_log(folder: str, name: str) -> Iterator[None]:
    """Make a log and keep other processes from it."""
    foreign = sorted(set(os.listdir(folder)) - {name, *npu_options.FOLDERS}) if os.path.isdir(folder) else []
    if foreign:
        what = "is a run" if run_dir.is_run(folder) else f"holds {foreign[0]!r}"
        raise ZooError(f"{folder}: {what}, and the log of rank {os.path.basename(folder)} belongs there; move it away "
                       "or give another --output_path")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "ab") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ZooError(f"{os.path.join(folder, name)}: a rank of another job writes there; wait for it, or give "
                           "another --output_path") from None
        yield
