"""Importing this gives sessions to the NPU, all of this process."""
import adapter_session
import tensorflow

if not tensorflow.__version__.startswith("1."):
    raise ModuleNotFoundError("No module named 'tensorflow.contrib'")  # what the real one needs of TensorFlow 1.15

from npu_bridge.config import NPURunConfig  # noqa: E402, F401
from npu_bridge.loss_scale import ExponentialUpdateLossScaleManager, NPULossScaleOptimizer  # noqa: E402, F401

adapter_session.install(needs_enable_v1=False)
