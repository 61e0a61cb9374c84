"""What tests of graph code share."""
from __future__ import annotations

import pytest


@pytest.fixture
def new_graph():
    """Make a new graph the default one."""
    from common.graph.compat import enable, tf

    enable()
    with tf.Graph().as_default():
        yield
