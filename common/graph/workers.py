"""Collective operations of graph models: for one worker, for workers on CPUs and GPUs (TensorFlow's collective ops,
between a server of each worker), and for workers on NPUs (HCCL).

All workers build the same graph. Each computes the features of its part of the batch, `gather` gives every worker those
of the whole batch, and from there on all compute the same, with the same loss. Gradients flow back through the
collectives; `mean` makes the gradients of the workers those of the batch.
"""
from __future__ import annotations

import contextlib
import os
import threading
from typing import ContextManager, Iterator, Sequence

import numpy as np

from common.devices.ranks import workers_of
from common.devices.selection import Device, Rank
from common.distributed import processes
from common.errors import LostRank, rank_errors
from common.graph import npu
from common.graph.compat import tf
from common.run import agreement
from common.run.run_dir import RunRequest


class Workers(agreement.Workers):
    """A single worker. Its samples have `positions`, int64 [num], in the batch of `num_samples` of all workers."""

    def __init__(self, rank: Rank, num_samples: int):
        super().__init__(rank)
        self.num_samples = num_samples
        self.positions = np.arange(rank.number, num_samples, rank.size)

    def scope(self) -> ContextManager:
        """Context in which to build the graph."""
        return contextlib.nullcontext()

    def open_session(self, config: tf.ConfigProto) -> tf.Session:
        """Open a session on the complete graph."""
        return tf.Session(config=config)

    def total(self, value: tf.Tensor) -> tf.Tensor:
        """In the graph: return the sum over the workers."""
        return value

    def gather(self, rows: tf.Tensor) -> tf.Tensor:
        """In the graph: return the rows of all workers, [num_samples, ...], in the order of the batch.

        `rows` of this worker are float or int [len(positions), ...]; integers are below 2^24.
        """
        return rows

    def mean(self, gradients: Sequence[tuple]) -> list[tuple]:
        """In the graph: return pairs (gradient, variable) with the mean of the gradients of the workers."""
        return list(gradients)

    def broadcast(self, variables: Sequence[tf.Variable]) -> None:
        """Set the variables of all workers to the values of rank 0."""

    def answered(self) -> ContextManager:
        """Context of a run of the session that waits for the other workers; LostRank if one of them has ended."""
        return contextlib.nullcontext()


class _SeveralWorkers(Workers):
    """What workers on all kinds of devices have in common."""

    def __init__(self, rank: Rank, num_samples: int):
        super().__init__(rank, num_samples)
        self._session: tf.Session
        self._numbers: tf.Tensor  # placeholder, float32 [workers, 2]
        self._sums: tf.Tensor

    def open_session(self, config: tf.ConfigProto) -> tf.Session:
        with self.scope(), self._host():
            self._numbers = tf.placeholder(tf.float32, [self.rank.size, 2])
            self._sums = self._reduce(self._numbers)
        self._session = self._open(config)
        return self._session

    def _open(self, config: tf.ConfigProto) -> tf.Session:
        return super().open_session(config)

    def _host(self) -> ContextManager:
        """Context for what need not be on the device."""
        return contextlib.nullcontext()

    def _reduce(self, value: tf.Tensor) -> tf.Tensor:
        """Return the sum over the workers; without a gradient."""
        raise NotImplementedError

    def total(self, value: tf.Tensor) -> tf.Tensor:
        return tf.custom_gradient(lambda own: (self._reduce(own), self._reduce))(value)

    def gather(self, rows: tf.Tensor) -> tf.Tensor:
        if rows.dtype.is_integer:
            return tf.cast(self.gather(tf.cast(rows, tf.float32)), rows.dtype)
        shape = [self.num_samples, *rows.shape.as_list()[1:]]
        return self.total(tf.scatter_nd(self.positions[:, None], rows, tf.constant(shape, tf.int64)))

    def mean(self, gradients: Sequence[tuple]) -> list[tuple]:
        values, variables = zip(*gradients)
        flat = self._reduce(tf.concat([tf.reshape(value, [-1]) for value in values], 0)) / self.rank.size
        parts = tf.split(flat, [value.shape.num_elements() for value in values])
        return [(tf.reshape(part, variable.shape), variable) for part, variable in zip(parts, variables)]

    def broadcast(self, variables: Sequence[tf.Variable]) -> None:
        is_chief = int(self.rank.is_chief)
        done: list[tf.Operation] = []
        with self.scope(), self._host():
            for variable in variables:
                with tf.control_dependencies(done):  # one after the other: all at once would double the memory
                    done = [variable.assign(self._reduce(variable.read_value() * is_chief)).op]
        with self.answered():
            self._session.run(done)

    def _total_of(self, numbers: np.ndarray) -> np.ndarray:
        with self.answered():
            return self._session.run(self._sums, {self._numbers: numbers})

    def answered(self) -> ContextManager:
        return rank_errors(self.rank.number, tf.errors)


class ServerWorkers(_SeveralWorkers):
    """Workers on CPUs and GPUs: TensorFlow's servers, at the addresses of TF_CONFIG."""

    def __init__(self, rank: Rank, num_samples: int, has_gpu: bool, patience_seconds: float):
        super().__init__(rank, num_samples)
        self._has_gpu, self._patience_seconds = has_gpu, patience_seconds
        self._num_collectives = 0
        self._group = 1  # key of the devices that sum together
        self._task = f"/job:worker/task:{rank.number}"

    def scope(self) -> ContextManager:
        return tf.device(self._task)

    @contextlib.contextmanager
    def _host(self) -> Iterator[None]:
        self._group = 2
        with tf.device("CPU:0"):
            yield
        self._group = 1

    def _open(self, config: tf.ConfigProto) -> tf.Session:
        config.device_filters.append(self._task)  # a session does not wait for the other workers
        config.experimental.collective_group_leader = "/job:worker/replica:0/task:0"
        config.experimental.collective_nccl = self._has_gpu
        cluster = tf.train.ClusterSpec(dict(worker=workers_of(os.environ)[0]))
        with rank_errors(self.rank.number, tf.errors):
            server = tf.train.Server(cluster, "worker", self.rank.number, config=config)
        return tf.Session(server.target, config=config)

    def _reduce(self, value: tf.Tensor) -> tf.Tensor:
        from tensorflow.python.ops import collective_ops

        self._num_collectives += 1  # all workers number them alike
        return collective_ops.all_reduce(value, self.rank.size, self._group, self._num_collectives, "Add", "Id")

    @contextlib.contextmanager
    def answered(self) -> Iterator[None]:
        """TensorFlow 1.15 never notices that a worker has ended, and no version that the network is cut. A time-out of
        the session does not help: it waits for the collective to end.
        """
        watchdog = threading.Timer(self._patience_seconds, self._give_up)
        watchdog.daemon = True
        watchdog.start()
        try:
            with super().answered():
                yield
        finally:
            watchdog.cancel()

    def _give_up(self) -> None:
        print(f"[Error] rank {self.rank.number}: no answer from the other ranks for {self._patience_seconds / 60:g} "
              "minutes (--peer_minutes); the same command resumes from the last checkpoint", flush=True)
        os._exit(LostRank.status)


class HcclWorkers(_SeveralWorkers):
    """Workers on NPUs, one per NPU; the adapter knows the ranks from its environment."""

    def __init__(self, rank: Rank, num_samples: int, adapter: str | None):
        super().__init__(rank, num_samples)
        self._adapter = adapter

    def _reduce(self, value: tf.Tensor) -> tf.Tensor:
        return npu.all_reduce(self._adapter, value)


def meet(request: RunRequest) -> None:
    """Wait for the other ranks, before the run is opened; on NPUs the adapter does. Errors as `processes.meet`."""
    if request.rank.size > 1 and request.device.kind != "npu":
        processes.meet(request.flags, request.rank, tf.distribute.cluster_resolver.SlurmClusterResolver)


def make(rank: Rank, num_samples: int, device: Device, patience_seconds: float) -> Workers:
    """Return the workers for a settled device; on CPUs and GPUs, others may take `patience_seconds` to answer."""
    if rank.size == 1:
        return Workers(rank, num_samples)
    if device.kind == "npu":
        return HcclWorkers(rank, num_samples, device.adapter)
    return ServerWorkers(rank, num_samples, device.kind == "gpu", patience_seconds)
