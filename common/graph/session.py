"""Sessions of graph models: an open run for training, a session for programs that use trained weights."""
from __future__ import annotations

import contextlib
import dataclasses
from typing import Any, Iterator, Mapping, Sequence

from common.cli.parser import FlagValues
from common.devices import selection
from common.devices.npu_options import NpuOptions
from common.graph import compat, npu
from common.graph.compat import tf
from common.run import setup


@dataclasses.dataclass(frozen=True)
class GraphRun(setup.OpenRun):
    """An open run of a graph model."""

    session_config: tf.ConfigProto


@contextlib.contextmanager
def open_graph_run(entry: setup.Entry, flags: FlagValues, device: selection.Device, num_updates: int,
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
    compat.enable()
    planned = setup.plan(entry, flags, compat.settle(device, flags.device), num_updates)
    npu.start(planned.device)
    with setup.open_run(planned, tf.__version__, identity, notices) as run:
        mixed = planned.precision == "allow_mix_precision"
        config = npu.session_config(planned.device, planned.options, run.arguments["threads"], mixed)
        yield GraphRun(planned.device, planned.options, run, config)


@contextlib.contextmanager
def inference_session(device: selection.Device, requested: str, npu_precision: str, quiet: bool
                      ) -> Iterator[tf.Session]:
    """Open a session on a graph of its own, and say where it computes.

    Args:
        device: from `device.choose`.
        requested: the value of --device.
        npu_precision: the model's precision mode on an NPU.
        quiet: say nothing, for programs that print JSON.
    """
    compat.enable()
    device = compat.settle(device, requested)
    npu.start(device)
    if not quiet:
        print(selection.describe(device, tf.__version__, selection.precision_in_effect(device, None, npu_precision)))
    config = npu.session_config(device, NpuOptions(npu_precision), selection.num_cpus())
    with tf.Graph().as_default(), tf.Session(config=config) as opened:
        yield opened
