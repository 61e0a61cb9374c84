"""Set-up of Keras programs: an open run and its training steps, or the device for programs that use trained weights."""
from __future__ import annotations

import contextlib
import os
import re
import sys
from typing import Any, Callable, Iterator, Mapping, Sequence

from common.console import noise_hidden
from common.devices import npu_options, selection
from common.devices.npu_options import DebugPlan
from common.devices.selection import Rank
from common.distributed import processes
from common.errors import ZooError, step_errors
from common.keras import npu
from common.run import opening
from common.run.opening import Run
from common.run.run_dir import RunRequest


@contextlib.contextmanager
def _without_matplotlib() -> Iterator[None]:
    """Keep Keras from importing matplotlib, which takes a second and writes to the user's home."""
    sys.modules.setdefault("matplotlib", None)  # type: ignore[arg-type]
    try:
        yield
    finally:
        if sys.modules["matplotlib"] is None:
            del sys.modules["matplotlib"]


with _without_matplotlib(), noise_hidden():
    import tensorflow as tf

_NOT_COMPILED = "Detected unsupported operations when trying to compile graph"


@contextlib.contextmanager
def open_run(request: RunRequest, identity: Mapping[str, Any], notices: Sequence[str]) -> Iterator[Run]:
    """Wait for the other ranks, open the run, set threads and precision, and start the adapter.

    Only then may variables be created. Arguments and errors are those of `opening.open_run`.
    """
    device = settle(request.device, request.flags.device)
    require_one_gpu(request.rank, device.kind)
    if request.rank.size > 1 and device.kind != "npu":
        processes.meet(request.flags, request.rank, tf.distribute.cluster_resolver.SlurmClusterResolver)
    with opening.open_run(request, device, tf.__version__, identity, notices) as run:
        set_threads(run.arguments["threads"], device.kind)
        for notice in npu.start(device, request.options, request.rank):
            print(notice)
        selection.prepare_gpu(device, run.precision, request.flags.deterministic, tf.config.experimental)
        if device.kind == "gpu" and run.precision == "allow_mix_precision":
            tf.keras.mixed_precision.set_global_policy("mixed_float16")
        yield run


def start(device: selection.Device, requested: str, npu_precision: str, quiet: bool) -> None:
    """Start the device and print which one it is, unless `quiet`; `npu_precision` is the model's mode on an NPU."""
    device = settle(device, requested)
    set_threads(selection.num_cpus(), device.kind)
    notices = npu.start(device, npu_options.NpuOptions(npu_precision))
    if not quiet:
        print(selection.describe(device, tf.__version__, selection.precision_in_effect(device, None, npu_precision)),
              *notices, sep="\n")


def settle(device: selection.Device, requested: str) -> selection.Device:
    """Settle the device as `selection.settle` does, and let a GPU take memory as it is needed."""
    if device.kind != "gpu":
        return device
    for physical_gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(physical_gpu, True)
    return selection.settle(device, requested, tf)


def set_threads(num: int, device_kind: str = "cpu") -> None:
    """Set the threads within an op, on which the bits of sums depend; two ops run in parallel.

    Has no effect once TensorFlow has run an op in this process.
    """
    if device_kind == "npu":  # the adapter opens a new context, which ignores earlier configuration
        os.environ.update(TF_NUM_INTRAOP_THREADS=str(num), TF_NUM_INTEROP_THREADS=str(selection.INTER_OP_THREADS))
        return
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(num)
        tf.config.threading.set_inter_op_parallelism_threads(selection.INTER_OP_THREADS)


def require_one_gpu(rank: Rank, device_kind: str) -> None:
    """Raise ZooError if one of several processes sees several GPUs: TensorFlow's strategy would use all of them."""
    if rank.size == 1 or device_kind != "gpu":
        return
    num = len(tf.config.get_visible_devices("GPU"))
    if num > 1:
        raise ZooError(f"rank {rank.number} of {rank.size} sees {num} GPUs, expected one for each process: set another "
                       "CUDA_VISIBLE_DEVICES for each, or let --distributed=True --nproc_per_node=N start them")


def scale_losses(optimizer: Any, run: Run, requested: str | None) -> Any:
    """Wrap an optimizer for dynamic loss scaling if `requested` is "dynamic", or "mixed" and float16 is mixed in.

    None means "none" on an NPU, else "mixed".
    """
    is_npu = run.device.kind == "npu"  # whose adapter does not change Keras' policy
    requested = requested or ("none" if is_npu else "mixed")
    mixes_float16 = run.request.options.mixes_float16 if is_npu else (
        tf.keras.mixed_precision.global_policy().compute_dtype == "float16")
    if requested == "none" or (requested == "mixed" and not mixes_float16):
        return optimizer
    return (npu.loss_scale_optimizer if is_npu else tf.keras.mixed_precision.LossScaleOptimizer)(optimizer)


class Adam(tf.keras.optimizers.Adam):
    """Adam whose update of a variable is a single op, as in Keras 2. In Keras 3 it is twelve, each of which reads and
    writes arrays of the size of the variable.
    """

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        """Update a variable; Keras 3 calls this."""
        index, step = self._get_variable_index(variable), tf.cast(self.iterations + 1, variable.dtype)
        momentum, velocity = self._momentums[index].value, self._velocities[index].value
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle, m=momentum.handle, v=velocity.handle, beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step), lr=tf.cast(learning_rate, variable.dtype), beta1=self.beta_1,
            beta2=self.beta_2, epsilon=self.epsilon, grad=gradient)


def build_optimizer(optimizer: Any, variables: Sequence[Any]) -> None:
    """Create the variables of an optimizer now, not at its first step."""
    if hasattr(optimizer, "build"):
        optimizer.build(variables)
    else:  # Keras 2.6 has no public way that leaves the step counter at 0
        getattr(optimizer, "inner_optimizer", optimizer)._create_all_weights(variables)


def optimizer_variables(optimizer: Any) -> list[Any]:
    """Return all variables of an optimizer, with its step counter; within a version their order is always the same."""
    variables = optimizer.variables
    loss_scale = getattr(optimizer, "_loss_scale", None)  # Keras 2.6 omits a dynamic scale
    return [*(variables() if callable(variables) else variables), *getattr(loss_scale, "_weights", {}).values()]


def scale_loss(optimizer: Any, loss: Any) -> Any:
    """Scale a loss, if the optimizer scales losses."""
    if hasattr(optimizer, "get_scaled_loss"):
        return optimizer.get_scaled_loss(loss)
    return optimizer.scale_loss(loss) if hasattr(optimizer, "dynamic_scale") else loss


def loss_scale_row(optimizer: Any) -> dict[str, float]:
    """Return the optimizer's loss scale as a value of a row of metrics, nothing if the optimizer scales no losses."""
    scale = getattr(optimizer, "loss_scale", getattr(optimizer, "dynamic_scale", None))
    return {} if scale is None else {"loss_scale": float(scale)}


def unscale(optimizer: Any, gradients: Sequence[Any]) -> Sequence[Any]:
    """Undo the scale in gradients, unless the optimizer does it itself when it applies them."""
    if hasattr(optimizer, "get_unscaled_gradients"):
        return optimizer.get_unscaled_gradients(gradients)
    return gradients


@contextlib.contextmanager
def debugged(run: Run) -> Iterator[StepDebugger]:
    """Debug the training steps of a block. With over_dump, functions traced in the block get numeric checks."""
    debugger = StepDebugger(run)
    if debugger.has_checks:
        tf.debugging.enable_check_numerics()
    try:
        yield debugger
    finally:
        if debugger.has_checks:
            tf.debugging.disable_check_numerics()


class StepDebugger:
    """Runs training steps with over_dump, data_dump and profiling; on an NPU the adapter does all three."""

    def __init__(self, run: Run):
        self._plan = DebugPlan(run.debug_options, run.request.num_updates)
        self.has_checks = run.debug_options.over_dump_path is not None

    def run(self, step: Callable[[bool], tuple[Any, Mapping[str, Any]]], update: int) -> Any:
        """Run a training step and return its result.

        `step` makes the update; its argument says whether tensors are dumped, and it returns a result and these tensors
        by name. Updates count from 1. Raises ZooError if over_dump found NaN or infinity, the device is out of memory,
        or XLA lacks an operation.
        """
        dumps, profiles = self._plan.dumps(update), self._plan.profiles(update)
        if profiles:
            tf.profiler.experimental.start(self._plan.options.profiling_path)
        try:
            with step_errors(tf.errors):
                result, tensors = step(dumps)
        except tf.errors.InvalidArgumentError as error:
            if _NOT_COMPILED in error.message:
                reason = error.message.partition(" on XLA_")[2].partition(": ")[2].partition("{{")[0].strip()
                raise ZooError(f"--jit_compile: XLA cannot compile the training step ({reason}); leave the flag out"
                               ) from None
            if not self.has_checks:
                raise
            raise self._plan.overflow(_summarise(error.message), error.message, update) from None
        finally:
            if profiles:
                tf.profiler.experimental.stop()
        if dumps:
            arrays = {name: tf.convert_to_tensor(tensor).numpy() for name, tensor in tensors.items()}
            self._plan.write_dump(arrays, update)
        return result


def _summarise(message: str) -> str:
    """Shorten TensorFlow's `Detected Infinity or NaN in output 0 of graph op "Log" (# of outputs: 1)`."""
    match = re.search(r"Detected (.*?) in output \d+ of \w+ op \"(.*?)\"", message)
    return f"op {match.group(2)} produced {match.group(1)}" if match else message.strip().split("\n")[0]
