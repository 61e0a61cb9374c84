"""What every graph model's train entry does between its flags and its graph: device, adapter, run directory, log."""
from __future__ import annotations

import contextlib
import dataclasses
from typing import Any, Iterator, Mapping, Sequence

from common import device as devices
from common import npu_tf1, tf1, train_run
from common.flag_set import FlagValues
from common.tf1 import tf


@dataclasses.dataclass(frozen=True)
class GraphRun(train_run.OpenRun):
    """An open run of a graph model."""

    session_config: tf.ConfigProto


@contextlib.contextmanager
def open_graph_run(entry: train_run.Entry, flags: FlagValues, device: devices.Device, num_updates: int,
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
    planned = train_run.plan(entry, flags, tf1.settle(device, flags.device), num_updates)
    npu_tf1.start(planned.device)
    with train_run.open_run(planned, tf.__version__, identity, notices) as run:
        mixed = planned.precision == "allow_mix_precision"
        config = npu_tf1.session_config(planned.device, planned.options, run.arguments["threads"], mixed)
        yield GraphRun(planned.device, planned.options, run, config)
