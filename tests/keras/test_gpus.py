"""One GPU for each of several processes; TensorFlow's list of them is a stub."""
from __future__ import annotations

import pytest
import tensorflow as tf

from common.devices.selection import Rank
from common.errors import ZooError
from common.keras import session


def test_one_gpu_for_each_process(monkeypatch):
    monkeypatch.setattr(tf.config, "get_visible_devices", {"GPU": ["GPU:0", "GPU:1"]}.__getitem__)
    session.require_one_gpu(Rank(), "gpu")
    session.require_one_gpu(Rank(1, 2), "npu")
    with pytest.raises(ZooError, match="rank 1 of 2 sees 2 GPUs, expected one for each"):
        session.require_one_gpu(Rank(1, 2), "gpu")
    monkeypatch.setattr(tf.config, "get_visible_devices", {"GPU": ["GPU:0"]}.__getitem__)
    session.require_one_gpu(Rank(1, 2), "gpu")
