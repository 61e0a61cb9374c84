"""GPUs: whether TensorFlow sees one, and how it computes there. TensorFlow is passed in: both of its APIs will do."""
from __future__ import annotations

import dataclasses
import os
from typing import Any

from common.devices.selection import Device
from common.errors import ZooError

TF32 = "tf32"  # the precision of float32 products and convolutions on a GPU that has TF32
_FIRST_WITH_TF32 = (8, 0)  # compute capability (Ampere)


def settle(device: Device, requested: str, tf: Any) -> Device:
    """Decide whether "a GPU if TensorFlow sees one" is a GPU, and whether that one computes in TF32.

    Args:
        device: from `selection.choose`.
        requested: value of --device.
        tf: TensorFlow.

    Raises:
        ZooError: a GPU was asked for, but TensorFlow sees none.
    """
    if device.kind != "gpu":
        return device
    gpus = tf.config.experimental.list_physical_devices("GPU")
    if gpus:
        return dataclasses.replace(device, has_tf32=_computes_in_tf32(gpus[0], tf.config.experimental))
    if requested == "gpu":
        raise ZooError(f"--device=gpu: TensorFlow {tf.__version__} sees no GPU; check the driver and that TensorFlow "
                       "is a GPU build, or use --device=cpu")
    return dataclasses.replace(device, kind="cpu")


def _computes_in_tf32(gpu: Any, experimental: Any) -> bool:
    """Whether float32 products and convolutions are computed in TF32, as TensorFlow 2.4 and newer do by default."""
    if os.environ.get("NVIDIA_TF32_OVERRIDE") == "0" or not hasattr(
            experimental, "enable_tensor_float_32_execution") or not experimental.tensor_float_32_execution_enabled():
        return False
    capability = experimental.get_device_details(gpu).get("compute_capability")
    return capability is None or tuple(capability) >= _FIRST_WITH_TF32


def prepare(device: Device, precision: str, deterministic: bool, experimental: Any) -> None:
    """Make a GPU compute in a precision, and the same bits in every run if that is asked for; before any operation.

    Args:
        device: the settled device; nothing is done for another kind than "gpu".
        precision: the precision in effect.
        deterministic: whether operations must be deterministic.
        experimental: `config.experimental` of TensorFlow's version 2 API, or of version 1 where there is no other.
    """
    if device.kind != "gpu":
        return
    if precision != TF32 and hasattr(experimental, "enable_tensor_float_32_execution"):
        experimental.enable_tensor_float_32_execution(False)
    if not deterministic:
        return
    if hasattr(experimental, "enable_op_determinism"):  # since TensorFlow 2.9
        experimental.enable_op_determinism()
    else:  # read when the first operation runs; covers convolutions, bias_add and some reductions
        os.environ.update(TF_DETERMINISTIC_OPS="1", TF_CUDNN_DETERMINISTIC="1")


def not_deterministic(message: str) -> ZooError | None:
    """Return the error for an operation that has no deterministic form, None when TensorFlow reports something else."""
    if "determinis" not in message.lower():
        return None
    return ZooError(f"--deterministic: an operation has no deterministic form on this device ({message.splitlines()[0]}"
                    "); train without the flag")
