"""Fake of the adapter for TensorFlow 2; its eager part can be imported without it."""
import adapter_schema

if adapter_schema.version().name == "tf2.13":  # its loss-scale optimizer has a base class that is gone
    raise AttributeError("module 'keras.api._v2.keras.mixed_precision' has no attribute 'experimental'")

from npu_device import (  # noqa: E402
    distribute,  # noqa: F401
    train,  # noqa: F401
)
from npu_device.npu_device import global_options, open  # noqa: E402, F401

if adapter_schema.version().knows_inf_nan:
    from npu_device.npu_device import is_inf_nan_enabled, set_device_sat_mode  # noqa: F401

if adapter_schema.version().has_compat:
    from npu_device import compat  # noqa: F401
