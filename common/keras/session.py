"""Set-up of Keras programs: an open run for training, the device for programs that use trained weights."""
from __future__ import annotations

import contextlib
import dataclasses
from typing import Any, Iterator, Mapping, Sequence

import tensorflow as tf

from common.devices import npu_options, selection
from common.devices.selection import Rank
from common.errors import ZooError
from common.keras import npu
from common.run import opening
from common.run.opening import Run
from common.run.run_dir import RunRequest


@contextlib.contextmanager
def open_run(request: RunRequest, identity: Mapping[str, Any], notices: Sequence[str]) -> Iterator[Run]:
    """Open the run, set threads and precision, and start the adapter; then variables may be made.

    Arguments and errors are those of `opening.open_run`.
    """
    device = settle(request.device, request.flags.device)
    require_one_gpu(request.rank, device.kind)
    with opening.open_run(request, device, tf.__version__, identity, notices) as run:
        set_threads(run.arguments["threads"])
        npu.start(device, request.options)
        if device.kind == "gpu" and run.precision == "allow_mix_precision":
            tf.keras.mixed_precision.set_global_policy("mixed_float16")
        yield run


def scale_losses(optimizer: Any, run: Run, requested: str | None) -> Any:
    """Wrap an optimizer so that it scales the loss dynamically, if that is wanted.

    Args:
        optimizer: the optimizer.
        run: the open run.
        requested: "none"; "dynamic"; "mixed" is dynamic where float16 is mixed in, else none; None is the same, but
            none on an NPU.
    """
    if requested is None:
        requested = "none" if run.device.kind == "npu" else "mixed"
    if requested == "none" or (requested == "mixed" and not _mixes_float16(run)):
        return optimizer
    if run.device.kind == "npu":
        return npu.loss_scale_optimizer(optimizer)
    return tf.keras.mixed_precision.LossScaleOptimizer(optimizer)


def _mixes_float16(run: Run) -> bool:
    """Whether Keras does, on a GPU, or the adapter, which leaves the policy as it is."""
    if run.device.kind == "npu":
        return run.request.options.precision_mode in npu_options.FLOAT16_MODES
    return tf.keras.mixed_precision.global_policy().compute_dtype == "float16"


def settle(device: selection.Device, requested: str) -> selection.Device:
    """Say whether "a GPU if TensorFlow sees one" is a GPU.

    Raises:
        ZooError: a GPU was asked for and TensorFlow sees none.
    """
    if device.kind != "gpu":
        return device
    found = tf.config.list_physical_devices("GPU")
    if found:
        for gpu in found:
            tf.config.experimental.set_memory_growth(gpu, True)
        return device
    if requested == "gpu":
        raise ZooError(f"--device=gpu: TensorFlow {tf.__version__} sees no GPU; check the driver and that TensorFlow "
                       "is a GPU build, or use --device=cpu")
    return dataclasses.replace(device, kind="cpu")


def set_threads(num: int) -> None:
    """Fix the threads within an op, on which the bits of sums depend; two ops run at a time.

    A process whose TensorFlow has run already keeps what it has.
    """
    try:
        tf.config.threading.set_intra_op_parallelism_threads(num)
        tf.config.threading.set_inter_op_parallelism_threads(2)
    except RuntimeError:
        pass


def require_one_gpu(rank: Rank, device_kind: str) -> None:
    """Check that one of several processes sees one GPU at most: TensorFlow's strategy would take all that it sees.

    Raises:
        ZooError: it sees more.
    """
    if rank.size == 1 or device_kind != "gpu":
        return
    num = len(tf.config.get_visible_devices("GPU"))
    if num > 1:
        raise ZooError(f"rank {rank.number} of {rank.size} sees {num} GPUs, expected one for each process: set another "
                       "CUDA_VISIBLE_DEVICES for each, or let --distributed=True --nproc_per_node=N start them")


def start(device: selection.Device, requested: str, npu_precision: str, quiet: bool) -> None:
    """Settle and open the device, and say where the program computes.

    Args:
        device: from `device.choose`.
        requested: the value of --device.
        npu_precision: the model's precision mode on an NPU.
        quiet: say nothing, for programs that print JSON.
    """
    device = settle(device, requested)
    set_threads(selection.num_cpus())
    npu.start(device, npu_options.NpuOptions(npu_precision))
    if not quiet:
        print(selection.describe(device, tf.__version__, selection.precision_in_effect(device, None, npu_precision)))
