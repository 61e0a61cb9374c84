"""global_options(), open() and the handle it returns."""
from __future__ import annotations

import os

import adapter_schema
from adapter_record import Opening, process
from adapter_schema import SilentlyAccepted
from npu_device import npu_config


class NpuDeviceHandle:
    """An open device."""

    def __init__(self, opening: Opening):
        self._opening = opening

    def name(self) -> str:
        return "/job:localhost/replica:0/task:0/device:NPU:0"

    def as_default(self) -> NpuDeviceHandle:
        if self._opening.num_as_default:  # STRICTER: the real one wraps TensorFlow's functions once more
            raise SilentlyAccepted("as_default() is called again")
        self._opening.num_as_default += 1
        process.calls.append(("as_default",))
        return self


def global_options() -> npu_config.NpuConfig:
    """The options that open() reads."""
    if process.options is None:
        process.options = npu_config.make()
    return process.options


def open(device_id: int | None = None) -> NpuDeviceHandle:
    """Open a device.

    Raises:
        ValueError: ASCEND_DEVICE_ID is no number.
        RuntimeError: another device is open, or the ranks are set up wrongly.
        SilentlyAccepted: what the real one takes and ignores, or what fails on the way through the graph engine.
    """
    if device_id is None:
        device_id = int(os.getenv("ASCEND_DEVICE_ID", "0"))
    adapter_schema.check_ranks(os.environ)
    if process.is_v1_enabled:  # STRICTER
        raise SilentlyAccepted("open() after compat.enable_v1(): graph and eager code exclude each other")
    if process.openings:
        return _opened_before(device_id)
    if process.eager_variables():  # STRICTER
        raise SilentlyAccepted("there are variables from before open(), which replaces the eager context they live in")
    options = global_options().as_dict()
    problem = next(adapter_schema.problems(global_options().freeze(), adapter_schema.version()), None)
    if problem:  # STRICTER
        raise SilentlyAccepted(problem.text)
    process.openings.append(Opening(device_id, options, dict(os.environ)))
    process.calls.append(("open", device_id))
    process.handle = NpuDeviceHandle(process.openings[0])
    return process.handle


def _opened_before(device_id: int) -> NpuDeviceHandle:
    if not adapter_schema.version().has_compat:  # STRICTER: before r1.8 each call makes a context of its own
        raise SilentlyAccepted("open() is called again")
    other = process.openings[0].device_id
    if device_id != other:
        raise RuntimeError(f"Failed create npu instance on device {device_id} as existed instance on {other}")
    return process.handle
