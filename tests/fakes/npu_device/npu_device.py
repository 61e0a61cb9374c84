"""global_options(), open() and the handle it returns."""
from __future__ import annotations

import functools
import os
import sys
from typing import Any, Callable

import adapter_schema
from adapter_record import Opening, process
from adapter_schema import SilentlyAccepted
from npu_device import npu_config

_LOOP_SIZE = os.environ.get("NPU_LOOP_SIZE", "")  # read once, when the adapter is imported


class NpuDeviceHandle:
    """An open device.

    Attributes:
        workers_num: ranks of the job.
        worker_id: which of them this process is, as HCCL says.
    """

    def __init__(self, opening: Opening):
        self._opening = opening
        self.workers_num = adapter_schema.num_ranks(os.environ)
        self.worker_id = 0
        if self.workers_num > 1:
            from hccl.manage.api import get_rank_id

            self.worker_id = get_rank_id()

    def name(self) -> str:
        return "/job:localhost/replica:0/task:0/device:NPU:0"

    def as_default(self) -> NpuDeviceHandle:
        if self._opening.num_as_default:  # STRICTER: the real one wraps TensorFlow's functions once more
            raise SilentlyAccepted("as_default() is called again")
        self._opening.num_as_default += 1
        process.calls.append(("as_default",))
        _watch_functions()
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
    if _LOOP_SIZE not in ("", "1"):  # STRICTER
        raise SilentlyAccepted(f"NPU_LOOP_SIZE={_LOOP_SIZE} makes {_LOOP_SIZE} steps of a loop over a data set at once")
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
    _replace_context()
    process.openings.append(Opening(device_id, options, dict(os.environ), _allows_hf32()))
    process.calls.append(("open", device_id))
    process.handle = NpuDeviceHandle(process.openings[0])
    return process.handle


def _allows_hf32() -> bool | None:
    experimental = getattr(getattr(sys.modules.get("tensorflow"), "config", None), "experimental", None)
    return getattr(experimental, "tensor_float_32_execution_enabled", lambda: None)()


def set_device_sat_mode(mode: int) -> None:
    """Let overflows be clipped (0), or give infinities (1)."""
    if adapter_schema.product() == "910A" and mode != 0:
        raise SilentlyAccepted("Ascend 910A clips, whatever is set")
    process.sat_mode = mode


def is_inf_nan_enabled() -> bool:
    """Whether an overflow gives infinity, the default of everything but Ascend 910A."""
    return (adapter_schema.product() != "910A") if process.sat_mode is None else process.sat_mode == 1


_restores: list[Callable[[], Any]] = []


def _replace_context() -> None:
    """Give TensorFlow a new eager context, as the real one does: threads and a seed that were set are lost."""
    tensorflow = sys.modules.get("tensorflow")
    if not hasattr(tensorflow, "function") or not tensorflow.executing_eagerly():
        return  # the eager adapter is tested without TensorFlow 2 as well
    from tensorflow.python.eager import context

    _restores.append(functools.partial(context._set_context, _forgive(context.context())))
    replacement = context.Context()
    replacement.ensure_initialized()
    context._set_context(_forgive(replacement))


def _forgive(context: Any) -> Any:
    """Let functions of another context end while this one is TensorFlow's."""
    remove = context.remove_function

    def remove_if_known(name: str) -> None:
        if context.has_function(name):
            remove(name)

    context.remove_function = remove_if_known
    return context


def _watch_functions() -> None:
    """Record what calls of a tf.function send; the real as_default() puts a method of its own in that place too."""
    tensorflow = sys.modules.get("tensorflow")
    if not hasattr(tensorflow, "function"):
        return
    kind = type(tensorflow.function(lambda: None))
    call = kind.__call__

    def send(self: Any, *arguments: Any, **options: Any) -> Any:
        if tensorflow.executing_eagerly():  # within another function it is a part of that one
            tensors = [part for part in tensorflow.nest.flatten((arguments, options)) if hasattr(part, "dtype")]
            graph = f"{self.python_function.__qualname__} of " + ", ".join(
                f"{part.dtype.name}{list(part.shape)}" for part in tensors)
            if graph not in process.graphs:
                process.graphs.append(graph)
        return call(self, *arguments, **options)

    kind.__call__ = send
    _restores.append(functools.partial(setattr, kind, "__call__", call))


def uninstall() -> None:
    """Give TensorFlow its own method and context back; the real one has nothing like it."""
    while _restores:
        _restores.pop()()


def _opened_before(device_id: int) -> NpuDeviceHandle:
    if not adapter_schema.version().has_compat:  # STRICTER: before r1.8 each call makes a context of its own
        raise SilentlyAccepted("open() is called again")
    other = process.openings[0].device_id
    if device_id != other:
        raise RuntimeError(f"Failed create npu instance on device {device_id} as existed instance on {other}")
    return process.handle
