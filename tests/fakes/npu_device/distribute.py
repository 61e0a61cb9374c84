"""Collectives over the NPUs of a job, of eager programs; see adapter_hccl.

STRICTER: the real ones do nothing, without a word, when no NPU is the default.
"""
from __future__ import annotations

from typing import Any, Sequence

import numpy as np
from adapter_hccl import exchange
from adapter_record import process
from adapter_schema import SilentlyAccepted

_REDUCTIONS = {"mean": np.mean, "max": np.max, "min": np.min, "prod": np.prod, "sum": np.sum}


def all_reduce(values: Any, reduction: str = "mean", fusion: int = 1, fusion_id: int = -1,
               group: str = "hccl_world_group") -> Any:
    """Reduce a tensor, or each of a list, over all ranks; outside of a tf.function it is one itself.

    Args:
        values: None stays None.
        reduction: how.
        fusion: 1 lets the graph engine put reductions together, as it does with gradients; 0 keeps one apart.
        fusion_id: of a group that the caller chooses.
        group: of ranks.
    """
    _require_default("all_reduce")
    if reduction not in _REDUCTIONS:
        raise ValueError(f"reduction {reduction!r}, expected one of {sorted(_REDUCTIONS)}")
    if not isinstance(values, (list, tuple)):
        return all_reduce([values], reduction, fusion, fusion_id, group)[0]
    reduced = _reduce([value for value in values if value is not None], reduction, fusion)
    return [None if value is None else reduced.pop(0) for value in values]


def _reduce(values: Sequence[Any], reduction: str, fusion: int) -> list[Any]:
    import tensorflow

    process.calls.append(("all_reduce", reduction, len(values), fusion))
    values = [tensorflow.convert_to_tensor(value) for value in values]
    what = f"all_reduce {reduction} of " + ", ".join(f"{value.dtype.name}{value.shape}" for value in values)

    def reduce(*arrays: np.ndarray) -> list[np.ndarray]:
        by_rank = exchange(process.handle.worker_id, _size(), what, arrays)
        return [_REDUCTIONS[reduction](np.stack(found), axis=0).astype(own.dtype)
                for own, found in zip(arrays, zip(*by_rank))]

    with tensorflow.control_dependencies(_earlier_collectives()):
        reduced = tensorflow.numpy_function(reduce, values, [value.dtype for value in values])
    reduced = reduced if isinstance(reduced, (list, tuple)) else [reduced]
    if not tensorflow.executing_eagerly():
        for own, other in zip(values, reduced):
            other.set_shape(own.shape)
    return list(reduced)


def _earlier_collectives() -> list[Any]:
    """What may hold collectives of the graph that is being traced: the graph engine keeps their order."""
    import tensorflow

    if tensorflow.executing_eagerly():
        return []
    operations = tensorflow.compat.v1.get_default_graph().get_operations()
    return [operation for operation in operations if operation.type in ("PyFunc", "If", "StatefulPartitionedCall")]


def broadcast(values: Sequence[Any], root_rank: int = 0, fusion: int = 2, fusion_id: int = 0,
              group: str = "hccl_world_group") -> None:
    """Give variables the values of one rank. STRICTER: once, and before they are updated."""
    _require_default("broadcast")
    if any(not hasattr(value, "assign") for value in values):
        raise SilentlyAccepted("broadcast of what is no variable")
    if _was_called("broadcast"):
        raise SilentlyAccepted("broadcast is called again")
    if any(name == "all_reduce" and counts[1] > 1 for name, *counts in process.calls):
        raise SilentlyAccepted("broadcast after the first step")
    process.calls.append(("broadcast", root_rank, len(values)))
    received = exchange(process.handle.worker_id, _size(), f"broadcast of {len(values)}",
                        [np.asarray(value) for value in values])[root_rank]
    if process.handle.worker_id != root_rank:
        for value, sent in zip(values, received):
            value.assign(sent)


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
    return dataset.shard(_size(), process.handle.worker_id), global_bs // _size()


def npu_distributed_keras_optimizer_wrapper(optimizer: Any, reduce_reduction: str = "mean", fusion: int = 1,
                                            fusion_id: int = -1, group: str = "hccl_world_group") -> Any:
    """Let `apply_gradients` of an optimizer reduce what it is given.

    Where gradients are computed nothing is reduced. Inside a loss-scale optimizer the reduction is made only by ranks
    that do not skip the step.

    Raises:
        AttributeError: the optimizer is one of Keras 2.11 or newer, which lack methods that are wrapped too.
    """
    _require_default("npu_distributed_keras_optimizer_wrapper")
    get_gradients, compute_gradients = optimizer.get_gradients, optimizer._compute_gradients
    apply_gradients = optimizer.apply_gradients

    def reduce_and_apply(grads_and_vars: Any, *arguments: Any, **options: Any) -> Any:
        gradients, variables = zip(*grads_and_vars)
        reduced = all_reduce(gradients, reduce_reduction, fusion, fusion_id, group)
        return apply_gradients(zip(reduced, variables), *arguments, **options)

    optimizer.apply_gradients = reduce_and_apply
    # The real one puts functions here that reduce nothing either. The first name, without an s, is its own.
    optimizer.get_gradient, optimizer._compute_gradients = get_gradients, compute_gradients
    process.calls.append(("optimizer_wrapper", reduce_reduction))
    return optimizer


def _require_default(name: str) -> None:
    if not process.openings or process.openings[0].num_as_default != 1:
        raise SilentlyAccepted(f"{name} without open().as_default() does nothing")
    if _size() <= 1:
        raise SilentlyAccepted(f"{name} with RANK_SIZE 1 does nothing")


def _size() -> int:
    return process.handle.workers_num


def _was_called(name: str) -> bool:
    return any(called == name for called, *_ in process.calls)


def _is_batched(dataset: Any) -> bool:
    dataset = getattr(dataset, "_dataset", dataset)  # of TensorFlow 1
    return "Batch" in type(dataset).__name__ or any(map(_is_batched, dataset._inputs()))
