"""Importing this gives sessions to the NPU, all of this process."""
import adapter_session
import tensorflow

if tensorflow.__version__.startswith("1."):
    raise ImportError("npu_device needs TensorFlow 2")

adapter_session.install(needs_enable_v1=True)
