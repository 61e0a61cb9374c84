"""What every Keras model's train entry does between its flags and its model: device, adapter, run directory, log."""
from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import zlib
from typing import Any, Iterator, Mapping, Sequence

import tensorflow as tf

from common.cli.parser import FlagValues
from common.devices import npu_options, selection
from common.devices.ranks import Rank
from common.errors import ZooError
from common.keras import npu
from common.run import setup


@dataclasses.dataclass(frozen=True)
class KerasRun(setup.OpenRun):
    """An open run in the process of rank 0, with the CRC-32 of what all ranks must share."""

    checksum: int


@dataclasses.dataclass(frozen=True)
class KerasHelper(setup.Started):
    """The process of another rank, with the same."""

    checksum: int


@contextlib.contextmanager
def open_keras_run(entry: setup.Entry, flags: FlagValues, device: selection.Device, num_updates: int,
                   identity: Mapping[str, Any], notices: Sequence[str]) -> Iterator[KerasRun]:
    """Open the run directory, set threads and precision, and start the adapter; then variables may be made.

    Args:
        entry: the train entry.
        flags: its parsed flags.
        device: from `device.choose`.
        num_updates: updates that the run is to make.
        identity: what the model adds to what a run must share with one it goes on with.
        notices: lines to print after the first.
    """
    planned = setup.plan(entry, flags, settle(device, flags.device), num_updates)
    with setup.open_run(planned, tf.__version__, identity, notices) as run:
        set_threads(run.arguments["threads"])
        npu.start(planned.device, planned.options)
        if planned.device.kind == "gpu" and planned.precision == "allow_mix_precision":
            tf.keras.mixed_precision.set_global_policy("mixed_float16")
        yield KerasRun(planned.device, planned.options, run, _checksum(planned, identity))


def scale_losses(optimizer: Any, opened: setup.Started, requested: str | None) -> Any:
    """Wrap an optimizer so that it scales the loss dynamically, if that is wanted.

    Args:
        optimizer: the optimizer.
        opened: the run.
        requested: "none"; "dynamic"; "mixed" is dynamic where float16 is mixed in, else none; None is the same, but
            none on an NPU.
    """
    if requested is None:
        requested = "none" if opened.device.kind == "npu" else "mixed"
    if requested == "none" or (requested == "mixed" and not _mixes_float16(opened)):
        return optimizer
    if opened.device.kind == "npu":
        return npu.loss_scale_optimizer(optimizer)
    return tf.keras.mixed_precision.LossScaleOptimizer(optimizer)


def _mixes_float16(opened: setup.Started) -> bool:
    """Whether Keras does, on a GPU, or the adapter, which leaves the policy as it is."""
    if opened.device.kind == "npu":
        return opened.options.precision_mode in npu_options.FLOAT16_MODES
    return tf.keras.mixed_precision.global_policy().compute_dtype == "float16"


@contextlib.contextmanager
def open_keras_helper(entry: setup.Entry, flags: FlagValues, device: selection.Device, num_updates: int,
                      identity: Mapping[str, Any], notices: Sequence[str]) -> Iterator[KerasHelper]:
    """What `open_keras_run` is for rank 0, for the others: a log of their own, threads and the adapter; no run."""
    planned = setup.plan(entry, flags, settle(device, flags.device), num_updates)
    with setup.open_helper(planned, tf.__version__, notices):
        set_threads(selection.num_cpus())
        npu.start(planned.device, planned.options)
        if planned.device.kind == "gpu" and planned.precision == "allow_mix_precision":
            tf.keras.mixed_precision.set_global_policy("mixed_float16")
        yield KerasHelper(planned.device, planned.options, _checksum(planned, identity))


def _checksum(planned: setup.Plan, identity: Mapping[str, Any]) -> int:
    flags = planned.flags
    shared = dict(identity, script=os.path.basename(planned.entry.script), recipe=flags.recipe, seed=flags.seed,
                  batch_size=flags.batch_size, precision=planned.precision, device=planned.device.kind,
                  tensorflow=tf.__version__, num_updates=planned.num_updates,
                  performance=flags.performance)
    return zlib.crc32(json.dumps(shared, sort_keys=True).encode("utf-8"))


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
