"""A session for graph programs that use a model without training it."""
from __future__ import annotations

import contextlib
from typing import Iterator

from common import device as devices
from common import npu_tf1, tf1
from common.npu_options import NpuOptions
from common.tf1 import tf


@contextlib.contextmanager
def session(device: devices.Device, requested: str, npu_precision: str, quiet: bool) -> Iterator[tf.Session]:
    """Open a session on a graph of its own, and say where it computes.

    Args:
        device: from `device.choose`.
        requested: the value of --device.
        npu_precision: the model's precision mode on an NPU.
        quiet: say nothing, for programs that print JSON.
    """
    tf1.enable()
    device = tf1.settle(device, requested)
    npu_tf1.start(device)
    if not quiet:
        print(devices.describe(device, tf.__version__, devices.precision_in_effect(device, None, npu_precision)))
    config = npu_tf1.session_config(device, NpuOptions(npu_precision), devices.num_cpus())
    with tf.Graph().as_default(), tf.Session(config=config) as opened:
        yield opened
