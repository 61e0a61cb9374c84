"""An NPU for eager models: the only file besides `common.graph.npu` that knows npu_device.

The adapter reads its options once, inside `open()`; one that is set later is accepted silently and has no effect.
`open()` also replaces TensorFlow's eager context: a variable or tensor made before it belongs to the old one. So an
entry calls `start` once, before it makes anything of TensorFlow's.
"""
from __future__ import annotations

import os
from typing import Any

from common.devices import selection
from common.devices.npu_options import NpuOptions, profiling_options, require_known
from common.devices.selection import ALONE, Device, Rank, adapter_failure, too_old
from common.errors import ZooError


def start(device: Device, options: NpuOptions, rank: Rank = ALONE) -> list[str]:
    """Load the adapter, set its options, open the NPU and make it the default, once; do nothing elsewhere.

    The folders of the options exist (`NpuOptions.make_folders`). Return notices about the environment. Raises FlagError
    if this version of the adapter does not know the precision mode, and ZooError if it does not start, or HCCL counts
    the ranks in another order.
    """
    if device.kind != "npu":
        return []
    assert device.adapter is not None
    notices = selection.ignore_variables(os.environ, rank)
    try:
        import npu_device

        configure(npu_device, options)
        if not hasattr(npu_device, "compat"):
            raise too_old()
        handle = npu_device.open(int(device.id))  # by number: on its own it cannot read an empty ASCEND_DEVICE_ID
        if rank.size > 1 and handle.worker_id != rank.number:
            raise ZooError(f"HCCL makes this process rank {handle.worker_id}, not {rank.number}: set RANK_ID="
                           f"{handle.worker_id}")
        handle.as_default()
    except ZooError:
        raise
    except Exception as error:  # it loads shared libraries: ImportError, OSError, NotFoundError, AttributeError
        raise adapter_failure(device.adapter, error) from error
    return notices


def loss_scale_optimizer(optimizer: Any) -> Any:
    """Wrap an optimizer so that it scales the loss dynamically, as float16 on an NPU needs it.

    Ascend 910A clips instead of making infinities, so Keras' own class would never see an overflow there. On other
    products this class leaves it to Keras, and so to each rank, to see an infinite gradient. With sums over the ranks
    all see the same, and skip the same steps.
    """
    import npu_device

    return npu_device.train.optimizer.NpuLossScaleOptimizer(optimizer, dynamic=True)


def configure(npu_device: Any, options: NpuOptions) -> None:
    """Set `npu_device.global_options()`, before `open()`; FlagError if this version lacks an option or its value."""
    config = npu_device.global_options()
    for name, value in options.choices.items():
        require_known(config, name, value)
        setattr(config, name, value)
    for name, value in options.settings.items():
        setattr(config.dump_config if "dump" in name else config, name, value)
    if options.profiling_path:
        config.profiling_config.enable_profiling = True
        config.profiling_config.profiling_options = profiling_options(options.profiling_path)
    if options.tuning_path and hasattr(config, "aoe_config"):  # since r1.9
        config.aoe_config.aoe_mode = "2"  # tunes operators
        config.aoe_config.work_path = options.tuning_path
    elif options.tuning_path:
        config.auto_tune_mode = "RL,GA"
    if options.hf32 is not None:
        import tensorflow as tf

        tf.config.experimental.enable_tensor_float_32_execution(options.hf32)  # open() reads TensorFlow's switch


def shard(dataset: Any, num: int) -> tuple[Any, int]:
    """Keep this rank's elements of a dataset that is not batched yet; after `start` and before the model is made.

    Return the dataset, and how many elements of a batch of `num` are this rank's; ValueError if the ranks cannot share
    it evenly.
    """
    import npu_device

    return npu_device.distribute.shard_and_rebatch_dataset(dataset, num)


def all_reduce(values: list[Any], fuse: bool) -> list[Any]:
    """Add tensors up over all NPUs, which must all call it.

    With `fuse` the graph engine sends them together with others, as is good for gradients; what is small need not wait.
    """
    import npu_device

    return list(npu_device.distribute.all_reduce(values, reduction="sum", fusion=int(fuse)))


def broadcast(variables: list[Any]) -> None:
    """Give the variables of all NPUs the values of rank 0, once, when they exist and before the first step."""
    import npu_device

    npu_device.distribute.broadcast(variables, root_rank=0)
