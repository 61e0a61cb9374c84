"""Graph code on TensorFlow 2, since r1.8."""
import adapter_schema
from adapter_record import process
from adapter_schema import SilentlyAccepted

if not adapter_schema.version().has_compat:
    raise ModuleNotFoundError("No module named 'npu_device.compat'")


def enable_v1() -> None:
    """Make TensorFlow 2 behave as version 1. STRICTER than the real one in all that it refuses."""
    import tensorflow.compat.v1 as tf

    if process.openings:
        raise SilentlyAccepted("enable_v1() after open(): graph and eager code exclude each other")
    if tf.get_default_graph().get_operations():
        raise SilentlyAccepted("enable_v1() after ops of the default graph")
    tf.disable_v2_behavior()
    process.is_v1_enabled = True
