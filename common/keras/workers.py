"""Collective operations of a data-parallel run: sums of gradients and numbers, and equal weights at the start. For one
worker, for workers on CPUs and GPUs (tf.distribute.MultiWorkerMirroredStrategy), and for workers on NPUs (HCCL).

Each worker processes its part of the batch in a function that `compile` has compiled; in it, `total` and `apply` sum
over the workers. Keras 3's own `fit` cannot run under this strategy; a custom loop can.
"""
from __future__ import annotations

import contextlib
import signal
import threading
from typing import Any, Callable, ContextManager, Iterator, Sequence

import numpy as np

from common.devices.selection import Rank
from common.errors import rank_errors
from common.keras import npu, session
from common.keras.session import tf
from common.run import agreement

_HEARTBEAT_SECONDS = 30  # without any sign of life, after which a worker is lost


class Workers(agreement.Workers):
    """A single worker."""

    run_the_same = False  # whether all workers must run the same compiled functions, also in evaluations

    def __init__(self, rank: Rank, jit_compile: bool = False):
        """With `jit_compile`, `compile` uses XLA."""
        super().__init__(rank)
        self._options = {"jit_compile": True} if jit_compile else {}

    def scope(self) -> ContextManager:
        """Context in which to create model and optimizer, and to set the learning rate."""
        return contextlib.nullcontext()

    def positions(self, num: int) -> np.ndarray:
        """Return the positions of this worker's samples in a batch of `num`, int [about num / workers].

        Call it before the model is created.
        """
        return np.arange(self.rank.number, num, self.rank.size)

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Compile a function of tensors; all workers must call the result."""
        return tf.function(function, autograph=False, **self._options)

    def total(self, value: tf.Tensor) -> tf.Tensor:
        """In a compiled function: return the sum over the workers."""
        return value

    def gradients(self, optimizer: Any, tape: tf.GradientTape, loss: tf.Tensor, variables: Sequence[Any]
                  ) -> Sequence[tf.Tensor]:
        """In a compiled function: return the gradients for `apply`: of this worker's loss; on NPUs, summed over the
        workers.
        """
        with tape:
            scaled = session.scale_loss(optimizer, loss)
        return session.unscale(optimizer, tape.gradient(scaled, variables))

    def apply(self, optimizer: Any, gradients: Sequence[tf.Tensor], variables: Sequence[Any]) -> None:
        """In a compiled function: update variables with the sum of the workers' gradients."""
        optimizer.apply_gradients(zip(gradients, variables))

    def broadcast(self, variables: Sequence[Any]) -> None:
        """Set the variables of all workers to the values of rank 0."""

    @property
    def evaluates(self) -> bool:
        """Whether this worker evaluates: rank 0 does, and where all must run the same functions, the others too."""
        return self.rank.is_chief or self.run_the_same


class _SeveralWorkers(Workers):
    """What workers on all kinds of devices have in common."""

    def __init__(self, rank: Rank):
        super().__init__(rank)
        self._sum = self.compile(self.total)

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        compiled = super().compile(function)

        def run(*arguments: Any) -> Any:
            with rank_errors(self.rank.number, tf.errors):
                return compiled(*arguments)

        return run

    def _total_of(self, numbers: np.ndarray) -> np.ndarray:
        return self._sum(tf.constant(numbers)).numpy()


class MirroredWorkers(_SeveralWorkers):
    """Workers that TF_CONFIG connects. Create it before anything else of TensorFlow."""

    def __init__(self, rank: Rank):
        _be_patient(rank.size)
        with rank_errors(rank.number, tf.errors):
            self._strategy = tf.distribute.MultiWorkerMirroredStrategy()
        _take_signals_back()
        super().__init__(rank)

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        with self._strategy.scope(), tf.variable_creator_scope(_same_everywhere):
            yield

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return super().compile(lambda *arguments: self._strategy.run(function, args=arguments))

    def total(self, value: tf.Tensor) -> tf.Tensor:
        placed = tf.identity(value)  # an argument of the function has no device yet
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, placed)

    def broadcast(self, variables: Sequence[Any]) -> None:
        values = [tf.convert_to_tensor(variable) for variable in variables]
        for dtype in sorted({value.dtype for value in values}, key=lambda dtype: dtype.name):
            chosen = [number for number, value in enumerate(values) if value.dtype == dtype]
            flat = tf.concat([tf.reshape(values[number], [-1]) for number in chosen], 0)
            flat = self._sum(flat if self.rank.is_chief else tf.zeros_like(flat))
            parts = tf.split(flat, [int(tf.size(values[number])) for number in chosen])
            for number, part in zip(chosen, parts):
                variables[number].assign(tf.reshape(part, values[number].shape))


class HcclWorkers(_SeveralWorkers):
    """Workers on NPUs, one per NPU; the open adapter knows the ranks from its environment.

    Gradients are summed before they are applied. The adapter's wrapper of optimizers would sum them in
    `apply_gradients`, which a loss-scale optimizer calls only if all gradients of the rank are finite: at the first
    overflow on one rank, the others would wait for it forever. So they do if one rank runs a function of its own.
    """

    run_the_same = True

    def positions(self, num: int) -> np.ndarray:
        dataset, size = npu.shard(tf.data.Dataset.range(num), num)
        return next(iter(dataset.batch(size))).numpy()

    def total(self, value: tf.Tensor) -> tf.Tensor:
        return npu.all_reduce([value], fuse=False)[0]

    def gradients(self, optimizer: Any, tape: tf.GradientTape, loss: tf.Tensor, variables: Sequence[Any]
                  ) -> Sequence[tf.Tensor]:
        return npu.all_reduce(list(super().gradients(optimizer, tape, loss, variables)), fuse=True)

    def broadcast(self, variables: Sequence[Any]) -> None:
        with rank_errors(self.rank.number, tf.errors):
            npu.broadcast(list(variables))


def _be_patient(num_workers: int) -> None:
    """Let TensorFlow's heartbeats survive a short failure of the network: it would wait 5 seconds for their answers.

    TensorFlow 2.6 has none. It asks every 30 seconds whether the others are healthy, and gives up after another 30.
    """
    from tensorflow.python.eager import context

    if hasattr(context.context(), "configure_coordination_service"):
        job = context.coordination_config_pb2.CoordinatedJob(name="worker", num_tasks=num_workers)
        context.context().configure_coordination_service(
            "standalone", "/job:worker/replica:0/task:0", heartbeat_timeout_in_ms=1000 * _HEARTBEAT_SECONDS,
            coordinated_jobs=[job])


def _take_signals_back() -> None:
    """Reinstall Python's signal handlers: TensorFlow's coordination service takes SIGTERM for a preemption."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            handler = signal.getsignal(number)
            if handler is not None:  # Python's, or none
                signal.signal(number, handler)


def _same_everywhere(next_creator: Callable[..., Any], **options: Any) -> Any:
    """Create a variable that each worker reads on its own. Keras 2 would create moving statistics that a worker can
    read only together with all others, so that rank 0 could not evaluate or save alone.
    """
    return next_creator(**dict(options, synchronization=tf.VariableSynchronization.AUTO))


def make(rank: Rank, device_kind: str, jit_compile: bool = False) -> Workers:
    """Return the workers for a kind of device: on NPUs after the adapter is open, elsewhere with a TF_CONFIG.

    `jit_compile` is for a single worker.
    """
    if rank.size == 1:
        return Workers(rank, jit_compile)
    return HcclWorkers(rank) if device_kind == "npu" else MirroredWorkers(rank)
