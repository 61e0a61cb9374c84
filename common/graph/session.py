"""Sessions of graph models: an open run for training, a session for programs that use trained weights."""
from __future__ import annotations

import contextlib
from typing import Any, Iterator, Mapping, Sequence

from common.devices import selection
from common.devices.npu_options import NpuOptions
from common.graph import compat, npu
from common.graph.compat import tf
from common.run import opening
from common.run.opening import Run
from common.run.run_dir import RunRequest


@contextlib.contextmanager
def open_run(request: RunRequest, identity: Mapping[str, Any], notices: Sequence[str]) -> Iterator[Run]:
    """Start the device and open the run; arguments and errors as those of `opening.open_run`."""
    compat.enable()
    device = compat.settle(request.device, request.flags.device)
    npu.start(device)
    with opening.open_run(request, device, tf.__version__, identity, notices) as run:
        yield run


def open_session(run: Run) -> tf.Session:
    """Return a session on the default graph that computes as the run asks for."""
    is_mixed = run.precision == "allow_mix_precision"
    return tf.Session(config=npu.session_config(run.device, run.request.options, run.arguments["threads"], is_mixed))


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
