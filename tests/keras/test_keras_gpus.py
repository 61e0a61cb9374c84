"""One GPU for each of several processes; TensorFlow's list of them is a stub."""
from __future__ import annotations

import pytest
import tensorflow as tf

from common import keras_gpus
from common.program import ZooError
from common.ranks import Rank


def test_one_gpu_for_each_process(monkeypatch):
    monkeypatch.setattr(tf.config, "get_visible_devices", {"GPU": ["GPU:0", "GPU:1"]}.__getitem__)
    keras_gpus.require_one(Rank(), "gpu")
    keras_gpus.require_one(Rank(1, 2), "npu")
    with pytest.raises(ZooError, match="rank 1 of 2 sees 2 GPUs, expected one for each"):
        keras_gpus.require_one(Rank(1, 2), "gpu")
    monkeypatch.setattr(tf.config, "get_visible_devices", {"GPU": ["GPU:0"]}.__getitem__)
    keras_gpus.require_one(Rank(1, 2), "gpu")
