"""What Keras programs that use a model without training it do before they make anything of TensorFlow's."""
from __future__ import annotations

import tensorflow as tf

from common import device as devices
from common import keras_run, npu_tf2
from common.npu_options import NpuOptions


def start(device: devices.Device, requested: str, npu_precision: str, quiet: bool) -> None:
    """Settle and open the device, and say where the program computes.

    Args:
        device: from `device.choose`.
        requested: the value of --device.
        npu_precision: the model's precision mode on an NPU.
        quiet: say nothing, for programs that print JSON.
    """
    device = keras_run.settle(device, requested)
    keras_run.set_threads(devices.num_cpus())
    npu_tf2.start(device, NpuOptions(npu_precision))
    if not quiet:
        print(devices.describe(device, tf.__version__, devices.precision_in_effect(device, None, npu_precision)))
