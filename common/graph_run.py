"""What every graph model's train entry does between its flags and its graph: device, adapter, run directory, log."""
from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import sys
from typing import Any, Iterator, Mapping, Sequence

import numpy as np

from common import device as devices
from common import npu_options, npu_tf1, run_dir, tf1
from common.flag_set import FlagValues
from common.tf1 import tf


@dataclasses.dataclass(frozen=True)
class Entry:
    """A train entry, as its run directory records it.

    Attributes:
        script: path of the entry's file; its folder is the model's root.
        network: name of the network in the result files.
        npu_precision: the model's precision mode on an NPU when the flag is unset.
        arguments: the command line, without the program's name.
    """

    script: str
    network: str
    npu_precision: str
    arguments: Sequence[str]

    @property
    def root(self) -> str:
        """The model's folder."""
        return os.path.dirname(os.path.abspath(self.script))


@dataclasses.dataclass(frozen=True)
class GraphRun:
    """An open run of a graph model."""

    run: run_dir.RunDir
    device: devices.Device
    options: npu_options.NpuOptions
    session_config: tf.ConfigProto


@contextlib.contextmanager
def open_graph_run(entry: Entry, flags: FlagValues, device: devices.Device, num_updates: int,
                   identity: Mapping[str, Any], notices: Sequence[str]) -> Iterator[GraphRun]:
    """Open the run directory and print the first lines; all output goes to the log as well until the block ends.

    Args:
        entry: the train entry.
        flags: its parsed flags.
        device: from `device.choose`.
        num_updates: updates that the run is to make.
        identity: what the model adds to what a run must share with one it goes on with.
        notices: lines to print after the first.
    """
    tf1.enable()
    device = tf1.settle(device, flags.device)
    path = run_dir.run_of_resume(flags.resume) or run_dir.locate(flags.output_path, entry.root, device.id)
    options = npu_options.resolve(flags, entry.root, path, entry.npu_precision, num_updates)
    precision = devices.precision_in_effect(device, flags.precision_mode, options.precision_mode)
    npu_tf1.start(device)
    values = {name: flags[name].value for name in sorted(flags)}
    request = run_dir.Request(
        path=path,
        identity=dict(identity, model=os.path.basename(entry.root), recipe=flags.recipe, seed=flags.seed,
                      batch_size=flags.batch_size, precision=precision, compute_dtype=flags.compute_dtype,
                      device=device.kind, tensorflow=tf.__version__),
        num_updates=num_updates,
        performance=flags.performance,
        resume=flags.resume,
        information=dict(flags=values, threads=devices.num_cpus(), device_id=device.id,
                         adapter=device.adapter, platform=platform.platform(),
                         versions=dict(python=platform.python_version(), tensorflow=tf.__version__,
                                       numpy=np.__version__),
                         git_revision=run_dir.git_revision(entry.root)),
        command=(sys.executable, os.path.abspath(entry.script), *entry.arguments),
    )
    run = run_dir.open_run(request, device.id)
    try:
        with run.log():
            print(devices.describe(device, tf.__version__, precision))
            print(f"Python {platform.python_version()} ({sys.executable})")
            print(f"Run directory: {run.path}" + (" (going on)" if run.resumed else ""))
            for notice in (*run.notices, *npu_options.without_effect(flags, device.kind), *notices):
                print(notice)
            if device.kind == "npu":
                options.make_folders()  # elsewhere what needs them makes them
            mixed = precision == "allow_mix_precision"
            config = npu_tf1.session_config(device, options, run.arguments["threads"], mixed)
            yield GraphRun(run, device, options, config)
    finally:
        run.close()
