"""Sessions on an NPU for graph models: the only file that knows npu_bridge and npu_device.compat.

TensorFlow 1.15 uses npu_bridge, TensorFlow 2 the compat part of npu_device. Both take their options from a custom
graph optimizer named NpuOptimizer in the session's ConfigProto, and both put one into every session once imported;
so they are imported only when a run is to use the NPU.
"""
from __future__ import annotations

import contextlib
import inspect
import io
import os
from typing import Any, Mapping

from common.devices import selection
from common.devices.npu_options import NpuOptions, profiling_options, require_known, unknown_option
from common.devices.selection import ALONE, Device, Rank, adapter_failure, too_old
from common.errors import ZooError
from common.graph.compat import tf

_LOSS_SCALE = "loss_scale"  # of the row, of what is fetched, and of the collection of the graph


def start(device: Device, options: NpuOptions | None = None, rank: Rank = ALONE) -> list[str]:
    """Load the adapter, on an NPU; do nothing elsewhere. Call it before any op or session is made.

    Return notices about the environment. Raises FlagError if this version of the adapter does not know an option, and
    ZooError if it does not start.
    """
    if device.kind != "npu":
        return []
    assert device.adapter is not None
    notices = selection.ignore_variables(os.environ, rank)
    printed = io.StringIO()
    try:
        if device.adapter == "npu_bridge":
            with contextlib.redirect_stdout(printed):
                import npu_bridge.npu_init  # noqa: F401
        else:
            _start_compat()
        if options:
            _require_known(device.adapter, options)
    except ZooError:
        raise
    except Exception as error:  # it loads shared libraries: ImportError, OSError, NotFoundError, AttributeError
        raise adapter_failure(device.adapter, error, printed.getvalue()) from error
    if options and options.hf32 is not None:
        os.environ["ENABLE_HF32_EXECUTION"] = str(int(options.hf32))  # read when the first session is made
    return notices


def _require_known(adapter: str, options: NpuOptions) -> None:
    """Refuse options that an older adapter would ignore silently. Sessions cannot tell; other parts of it can."""
    if adapter == "npu_bridge":
        from npu_bridge.npu_init import NPURunConfig

        known = inspect.signature(NPURunConfig.__init__).parameters
        for name, value in options.choices.items():
            if name not in known:
                raise unknown_option(adapter, name, value)
        return
    import npu_device

    for name, value in options.choices.items():
        require_known(npu_device.global_options(), name, value)


def scales_losses(device: Device, wanted: bool) -> bool:
    """Whether `scale_losses` has something to do: where it is wanted, on an NPU, and the adapter is npu_bridge.
    npu_device.compat has no loss scaling, whose TensorFlow classes were removed in 2.0.
    """
    return wanted and device.adapter == "npu_bridge"


def scale_losses(optimizer: tf.train.Optimizer, is_distributed: bool = False) -> tf.train.Optimizer:
    """Wrap an optimizer so that it scales the loss dynamically, with the numbers of the originals.

    The scale begins at 2^32, doubles after 1,000 good steps and halves after two with an overflow; these are skipped.
    Call it outside of control dependencies, where the adapter cannot make its variables. With `is_distributed`, all
    ranks skip a step in which one of them has an overflow.
    """
    from npu_bridge.npu_init import ExponentialUpdateLossScaleManager, NPULossScaleOptimizer

    manager = ExponentialUpdateLossScaleManager(init_loss_scale=2 ** 32, incr_every_n_steps=1000,
                                                decr_every_n_nan_or_inf=2, decr_ratio=0.5)
    tf.add_to_collection(_LOSS_SCALE, manager.get_loss_scale())
    return NPULossScaleOptimizer(optimizer, manager, is_distributed=is_distributed)


def all_reduce(adapter: str | None, value: tf.Tensor) -> tf.Tensor:
    """Return the sum of a tensor over all ranks."""
    if adapter == "npu_bridge":
        from npu_bridge.hccl import hccl_ops
    else:
        from npu_device.compat.v1.hccl import hccl_ops
    return hccl_ops.allreduce(tf.identity(value), "sum", fusion=0)  # HCCL does not read variables


def loss_scale() -> dict[str, tf.Tensor]:
    """Return what to fetch to know the loss scale, nothing if no loss of the default graph is scaled."""
    scales = tf.get_collection(_LOSS_SCALE)
    return {_LOSS_SCALE: scales[0]} if scales else {}


def loss_scale_row(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the loss scale as a value of a row of metrics, nothing if it was not fetched."""
    return {_LOSS_SCALE: float(values[_LOSS_SCALE])} if _LOSS_SCALE in values else {}


def _start_compat() -> None:
    import npu_device

    if not hasattr(npu_device, "compat"):
        raise too_old()
    import npu_device.compat.v1.npu_init  # noqa: F401

    npu_device.compat.enable_v1()
    tf.enable_resource_variables()  # enable_v1 calls disable_v2_behavior, which switches them off


def session_config(device: Device, options: NpuOptions, threads: int, mixed: bool = False) -> tf.ConfigProto:
    """Return a session's ConfigProto: exactly one NpuOptimizer on an NPU, none elsewhere.

    `threads` are those within an op: another number sums in another order and gives other bits. With `mixed`,
    TensorFlow mixes float16 in on a GPU.
    """
    config = tf.ConfigProto(allow_soft_placement=True, intra_op_parallelism_threads=threads,
                            inter_op_parallelism_threads=selection.INTER_OP_THREADS)
    rewrite = config.graph_options.rewrite_options
    off, on = rewrite.OFF, rewrite.ON
    if device.kind == "gpu":
        config.gpu_options.allow_growth = True
        if mixed:
            rewrite.auto_mixed_precision = on
    if device.kind != "npu":
        return config

    rewrite.remapping = off
    rewrite.memory_optimization = off
    optimizer = rewrite.custom_optimizers.add()
    optimizer.name = "NpuOptimizer"
    # The adapter reads each key from one field of AttrValue and takes a value in another field for absent.
    parameters: dict[str, bool | int | str] = dict(use_off_line=True, **options.choices, **options.settings)
    if options.profiling_path:
        parameters.update(profiling_mode=True, profiling_options=profiling_options(options.profiling_path))
    if options.tuning_path:
        # aoe_mode "2" tunes operators and is known since r1.5; it took the place of auto_tune_mode.
        parameters.update(aoe_mode="2", work_path=options.tuning_path)
    for key, value in parameters.items():
        if isinstance(value, bool):
            optimizer.parameter_map[key].b = value
        elif isinstance(value, int):
            optimizer.parameter_map[key].i = value
        else:
            optimizer.parameter_map[key].s = tf.compat.as_bytes(value)
    return config
