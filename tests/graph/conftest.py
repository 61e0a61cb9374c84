"""What tests of graph code share."""
from __future__ import annotations

import sys

import pytest

ADAPTER = "npu_bridge" if sys.version_info < (3, 8) else "npu_device"  # for TensorFlow 1.15 and for 2.x


@pytest.fixture
def new_graph():
    """Make a new graph the default one."""
    from common.graph.compat import enable, tf

    enable()
    with tf.Graph().as_default():
        yield
