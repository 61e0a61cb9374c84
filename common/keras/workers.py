"""What the workers of a data-parallel run do together: the sum of gradients, of numbers, and the same weights at the
start. One worker, workers on CPUs and GPUs (tf.distribute.MultiWorkerMirroredStrategy), workers on NPUs (HCCL).

Each worker computes on its part of the batch in a function that `compile` has compiled; inside it `total` and `apply`
add up over the workers. Keras 3's own fit cannot run under this strategy, a loop of one's own can.
"""
from __future__ import annotations

import contextlib
import re
from typing import Any, Callable, ContextManager, Iterator, Sequence

import numpy as np
import tensorflow as tf

from common.checkpoints.bundle import reason_of
from common.cli.program import take_signals_back
from common.devices.selection import Rank
from common.errors import ZooError
from common.keras import compat, npu

_OF_OTHERS = re.compile(r"collective|all_?reduce|recvbuf|hccl|hcom|\bpeer\b|connection|socket", re.IGNORECASE)


class Workers:
    """One worker alone.

    Attributes:
        run_the_same: whether all workers must run every compiled function that one runs; of evaluations too.
    """

    run_the_same = False

    def __init__(self, rank: Rank):
        self.rank = rank

    def scope(self) -> ContextManager:
        """Make model and optimizer, and set the optimizer's rate, within this."""
        return contextlib.nullcontext()

    def positions(self, num: int) -> np.ndarray:
        """Which samples of a batch of num are this worker's, int [about num / workers]: all size-th from its number on.

        Call it before the model is made.
        """
        return np.arange(self.rank.number, num, self.rank.size)

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Compile a function of this worker's tensors; all workers must call it."""
        return tf.function(function, autograph=False)

    def total(self, value: tf.Tensor) -> tf.Tensor:
        """Within a compiled function: the sum over the workers."""
        return value

    def gradients(self, optimizer: Any, tape: tf.GradientTape, loss: tf.Tensor, variables: Sequence[Any]
                  ) -> Sequence[tf.Tensor]:
        """Within a compiled function: the gradients of this worker's loss, as `apply` takes them; on NPUs, their sums
        over the workers.
        """
        with tape:
            scaled = compat.scale_loss(optimizer, loss)
        return compat.unscale(optimizer, tape.gradient(scaled, variables))

    def apply(self, optimizer: Any, gradients: Sequence[tf.Tensor], variables: Sequence[Any]) -> None:
        """Within a compiled function: update variables with the sum of the workers' gradients."""
        optimizer.apply_gradients(zip(gradients, variables))

    def broadcast(self, variables: Sequence[Any]) -> None:
        """Give all workers the values that rank 0 has."""

    def require_same(self, checksum: int) -> None:
        """Refuse workers that were not started to do the same; all must call it, first of all.

        Args:
            checksum: of what this one is to do, 32 bits.

        Raises:
            ZooError: others have another one.
        """

    def any(self, value: bool) -> bool:
        """Return whether any worker says so; all workers must call it, so it is also where they wait."""
        return value

    @property
    def evaluates(self) -> bool:
        """Whether this worker evaluates: rank 0, and where graphs must be the same, the others too."""
        return self.rank.is_chief or self.run_the_same


class _SeveralWorkers(Workers):
    """What the workers of both kinds do alike."""

    def __init__(self, rank: Rank):
        super().__init__(rank)
        self._sum = self.compile(self.total)

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        compiled = super().compile(function)

        def run(*arguments: Any) -> Any:
            with _explained(self.rank):
                return compiled(*arguments)

        return run

    def require_same(self, checksum: int) -> None:
        halves = np.zeros((self.rank.size, 2), np.float32)  # which hold 16 bits exactly
        halves[self.rank.number] = divmod(checksum, 1 << 16)
        found = self._sum(tf.constant(halves)).numpy()
        others = [str(number) for number, row in enumerate(found) if (row != found[0]).any()]
        if others:
            raise ZooError(f"rank {self.rank.number}: rank {' and '.join(others)} would not train the same as rank 0: "
                           "give all ranks the same data, --batch_size, --seed, length and other flags, and TensorFlow")

    def any(self, value: bool) -> bool:
        return float(self._sum(tf.constant(float(value), tf.float32))) > 0.0


class MirroredWorkers(_SeveralWorkers):
    """Workers that find each other through TF_CONFIG. Make it before anything else of TensorFlow's."""

    def __init__(self, rank: Rank):
        with _explained(rank):
            self._strategy = tf.distribute.MultiWorkerMirroredStrategy()
        take_signals_back()  # from TensorFlow's coordination service, which takes SIGTERM for a preemption of the host
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
    """Workers on NPUs, one for each; the adapter is open and knows the ranks from its environment.

    Gradients are summed before they are applied. The adapter's wrapper of optimizers would sum them within
    `apply_gradients`, which a loss-scale optimizer calls only where no gradient is infinite: at the first overflow of
    one rank the others would wait for it for ever, as NPUs do when one runs a graph of its own.
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
        with _explained(self.rank):
            npu.broadcast(list(variables))


def _same_everywhere(next_creator: Callable[..., Any], **options: Any) -> Any:
    """Make a variable that every worker has and reads alone. Keras 2 makes moving statistics such that a worker that
    reads them waits for all others to add theirs up, so that rank 0 could not evaluate or save by itself.
    """
    return next_creator(**dict(options, synchronization=tf.VariableSynchronization.AUTO))


def make(rank: Rank, device_kind: str) -> Workers:
    """Make what fits the device; on NPUs after the adapter was opened, elsewhere before any other use of TensorFlow."""
    if rank.size == 1:
        return Workers(rank)
    return HcclWorkers(rank) if device_kind == "npu" else MirroredWorkers(rank)


@contextlib.contextmanager
def _explained(rank: Rank) -> Iterator[None]:
    """Say in a line that another worker has ended; TensorFlow only reports that its own connection broke.

    An internal error that names no connection is this worker's own.
    """
    try:
        yield
    except tf.errors.UnknownError as error:
        if "Could not start gRPC server" not in str(error):
            raise
        raise ZooError(f"rank {rank.number}: its port in TF_CONFIG is taken by another program; give another one, or, "
                       "where --nproc_per_node starts the ranks, start them again") from None
    except (tf.errors.UnavailableError, tf.errors.CancelledError, tf.errors.AbortedError, tf.errors.InternalError,
            tf.errors.DeadlineExceededError) as error:
        if isinstance(error, tf.errors.InternalError) and not _OF_OTHERS.search(reason_of(error)):
            raise
        raise ZooError(f"rank {rank.number}: another worker has ended ({reason_of(error)}); the same command resumes "
                       "from the last checkpoint") from None
