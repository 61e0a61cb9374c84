"""Opening an NPU replaces TensorFlow's eager context; the threads that a run asks for are used nevertheless."""
from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests import fakes
from tests.conftest import ROOT, slow_on_the_default_leg

_PROGRAM = """
import os, sys
import tensorflow as tf
from common.devices.npu_options import NpuOptions
from common.devices.selection import Device
from common.keras import npu, session

device = Device(sys.argv[1], "0", "npu_device" if sys.argv[1] == "npu" else None)
session.set_threads(int(sys.argv[2]), device.kind)
npu.start(device, NpuOptions("allow_mix_precision"))
tf.matmul(tf.ones([600, 600]), tf.ones([600, 600])).numpy()
print(len(os.listdir("/proc/self/task")))
"""


def num_threads(kind, num, folder):
    """Count the threads of a process that multiplies matrices and was told to take `num`."""
    folder.mkdir()
    environment = fakes.environment(str(folder), "hicann", "npu_device")
    return int(subprocess.run([sys.executable, "-c", _PROGRAM, kind, str(num)], env=environment, cwd=ROOT,
                              stdout=subprocess.PIPE, check=True).stdout)


@slow_on_the_default_leg  # the adapter supports Keras 2 alone
@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted in Linux' /proc")
@pytest.mark.parametrize("kind", ["cpu", "npu"])
def test_more_threads_are_more_threads(tmp_path, kind):
    assert num_threads(kind, 9, tmp_path / "9") - num_threads(kind, 3, tmp_path / "3") == 6
