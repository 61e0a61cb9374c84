"""Collectives over the NPUs of a job, whose ranks are processes that exchange files beside the rank table.

A rank that makes a collective which another does not make waits for ever; here it fails after a while. What is
traced and not run exchanges nothing.

STRICTER: the real ones do nothing, without a word, when no NPU is the default.
"""
from __future__ import annotations

import io
import os
import time
from typing import Any, Sequence

import numpy as np
from adapter_record import process
from adapter_schema import SilentlyAccepted

_REDUCTIONS = {"mean": np.mean, "max": np.max, "min": np.min, "prod": np.prod, "sum": np.sum}
_PATIENCE_SECONDS = 60.0


def _require_default(name: str) -> None:
    if not process.openings or process.openings[0].num_as_default != 1:
        raise SilentlyAccepted(f"{name} without open().as_default() does nothing")
    if _size() <= 1:
        raise SilentlyAccepted(f"{name} with RANK_SIZE 1 does nothing")


def _size() -> int:
    return int(os.environ.get("RANK_SIZE", "1"))


def _was_called(name: str) -> bool:
    return any(called == name for called, *_ in process.calls)


def all_reduce(values: Sequence[Any], reduction: str = "mean", fusion: int = 1, fusion_id: int = -1,
               group: str = "hccl_world_group") -> Sequence[Any]:
    """Reduce tensors over all ranks, within a graph."""
    _require_default("all_reduce")
    if reduction not in _REDUCTIONS:
        raise ValueError(f"reduction {reduction!r}, expected one of {sorted(_REDUCTIONS)}")
    if not isinstance(values, (list, tuple)):
        raise SilentlyAccepted("all_reduce of what is no list")
    if _was_called("optimizer_wrapper") and len(values) > 1:  # STRICTER: the real one cannot know that it is wrong
        raise SilentlyAccepted("all_reduce of gradients that the wrapped optimizer has added up already")
    return _reduce(values, reduction)


def _reduce(values: Sequence[Any], reduction: str) -> list[Any]:
    import tensorflow

    if tensorflow.executing_eagerly():
        raise SilentlyAccepted("all_reduce outside of a tf.function is not run on the NPU")
    process.calls.append(("all_reduce", reduction, len(values)))
    exchange = _Exchange(f"all_reduce-{sum(name == 'all_reduce' for name, *_ in process.calls)}")

    def reduce(*arrays: np.ndarray) -> list[np.ndarray]:
        by_rank = exchange.all(arrays)
        return [_REDUCTIONS[reduction](np.stack(found), axis=0).astype(own.dtype)
                for own, found in zip(arrays, zip(*by_rank))]

    reduced = tensorflow.numpy_function(reduce, list(values), [value.dtype for value in values])
    for own, other in zip(values, reduced):
        other.set_shape(own.shape)
    return list(reduced)


def broadcast(values: Sequence[Any], root_rank: int = 0, fusion: int = 2, fusion_id: int = 0,
              group: str = "hccl_world_group") -> None:
    """Give variables the values of one rank; once, and before they are updated."""
    _require_default("broadcast")
    if any(not hasattr(value, "assign") for value in values):
        raise SilentlyAccepted("broadcast of what is no variable")
    if _was_called("broadcast"):
        raise SilentlyAccepted("broadcast is called again")
    if any(name == "all_reduce" and counts[-1] > 1 for name, *counts in process.calls):
        raise SilentlyAccepted("broadcast after the first step")
    process.calls.append(("broadcast", root_rank, len(values)))
    exchange = _Exchange("broadcast")
    if int(os.environ["RANK_ID"]) == root_rank:
        exchange.give([np.asarray(value) for value in values])
        return
    for value, received in zip(values, exchange.take(root_rank)):
        value.assign(received)


def shard_and_rebatch_dataset(dataset: Any, global_bs: int) -> tuple[Any, int]:
    """Keep this rank's elements; return the dataset, which is not batched here, and the rank's batch size."""
    _require_default("shard_and_rebatch_dataset")
    if global_bs % _size():
        raise ValueError(f"Batch size must be divisible by num npus: {_size()}")
    if _is_batched(dataset):  # STRICTER
        raise SilentlyAccepted("shard_and_rebatch_dataset after batch(): ranks get whole batches, of the wrong size")
    if process.eager_variables():  # STRICTER
        raise SilentlyAccepted("shard_and_rebatch_dataset after the model is made")
    process.calls.append(("shard", global_bs, global_bs // _size()))
    return dataset.shard(_size(), int(os.environ["RANK_ID"])), global_bs // _size()


def _is_batched(dataset: Any) -> bool:
    dataset = getattr(dataset, "_dataset", dataset)  # of TensorFlow 1
    return "Batch" in type(dataset).__name__ or any(map(_is_batched, dataset._inputs()))


def npu_distributed_keras_optimizer_wrapper(optimizer: Any, reduce_reduction: str = "mean", fusion: int = 1,
                                            fusion_id: int = -1, group: str = "hccl_world_group") -> Any:
    """Put methods that reduce gradients in the place of the optimizer's that compute them.

    Raises:
        AttributeError: it has none, since Keras 2.11.
    """
    _require_default("npu_distributed_keras_optimizer_wrapper")
    get_gradients, compute_gradients = optimizer.get_gradients, optimizer._compute_gradients
    apply_gradients = optimizer.apply_gradients
    if _was_called("optimizer_wrapper"):  # STRICTER, as the next
        raise SilentlyAccepted("an optimizer is wrapped again: gradients are reduced twice")
    if _was_called("loss_scale_optimizer") or hasattr(optimizer, "get_scaled_loss"):
        raise SilentlyAccepted("npu_distributed_keras_optimizer_wrapper belongs inside NpuLossScaleOptimizer")
    graphs: list[Any] = []

    def compute_and_reduce(*arguments: Any, **options: Any) -> list[tuple[Any, Any]]:
        gradients, variables = zip(*compute_gradients(*arguments, **options))
        graphs.append(_graph())
        return list(zip(_reduce(gradients, reduce_reduction), variables))

    def apply_reduced(*arguments: Any, **options: Any) -> Any:  # STRICTER: the real one lets apply_gradients be
        graph = _graph()
        while graph is not None and graph not in graphs:
            graph = getattr(graph, "outer_graph", None)
        if graph is None:
            raise SilentlyAccepted("apply_gradients of what the optimizer did not compute: nothing is reduced")
        return apply_gradients(*arguments, **options)

    optimizer.get_gradients = lambda loss, params: _reduce(get_gradients(loss, params), reduce_reduction)
    optimizer._compute_gradients = compute_and_reduce
    optimizer.apply_gradients = apply_reduced
    process.calls.append(("optimizer_wrapper", reduce_reduction))
    return optimizer


def _graph() -> Any:
    import tensorflow

    return tensorflow.compat.v1.get_default_graph()


class _Exchange:
    """Arrays that ranks give each other, again and again, in files beside the rank table."""

    def __init__(self, name: str):
        self._name, self._times = name, 0
        self._folder = os.path.join(os.path.dirname(os.environ["RANK_TABLE_FILE"]), "hccl")

    def all(self, arrays: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
        """Give this rank's; return those of all ranks."""
        self._times += 1
        self.give(arrays)
        return [self.take(rank) for rank in range(_size())]

    def give(self, arrays: Sequence[np.ndarray]) -> None:
        os.makedirs(self._folder, exist_ok=True)
        buffer = io.BytesIO()
        np.savez(buffer, *arrays)
        path = self._path(int(os.environ["RANK_ID"]))
        with open(f"{path}.part", "wb") as file:
            file.write(buffer.getvalue())
        os.replace(f"{path}.part", path)

    def take(self, rank: int) -> list[np.ndarray]:
        path, deadline = self._path(rank), time.monotonic() + _PATIENCE_SECONDS
        while not os.path.exists(path):
            if time.monotonic() > deadline:
                raise RuntimeError(f"HCCL: rank {rank} did not make {os.path.basename(path)}")
            time.sleep(0.002)
        with np.load(path) as found:
            return [found[f"arr_{number}"] for number in range(len(found.files))]

    def _path(self, rank: int) -> str:
        return os.path.join(self._folder, f"{self._name}-{self._times}-rank-{rank}.npz")
