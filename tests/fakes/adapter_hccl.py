"""Collectives over the NPUs of a job, whose ranks are processes that exchange files beside the rank table,
or in ZOO_FAKE_HCCL_FOLDER.

Ranks must make the same collectives in the same order. Where one makes another one than the rest, or none, all wait for
ever; here they fail, at once or after a while. What is traced and not run exchanges nothing.
"""
from __future__ import annotations

import io
import itertools
import os
import time
from typing import Any, Sequence

import numpy as np
from adapter_record import process
from adapter_schema import SilentlyAccepted

_PATIENCE_SECONDS = float(os.environ.get("ZOO_FAKE_HCCL_SECONDS", "60"))
_VARIABLES = ("VarHandleOp", "ReadVariableOp", "VariableV2")


def allreduce(tensor: Any, reduction: str, fusion: int = 1, fusion_id: int = -1, group: str = "hccl_world_group"
              ) -> Any:
    """Reduce a tensor of a session's graph over all ranks. Its gradient is the sum of the gradients of the ranks.

    The graph engine orders the collectives of a graph alike on all ranks; here each is named by its place among those
    of the graph and by how often it was run.

    Args:
        tensor: not that of a variable.
        reduction: "sum" here.
        fusion: 1 lets the graph engine put reductions together; 0 keeps one apart.
        fusion_id: of a group that the caller chooses.
        group: of ranks.
    """
    import tensorflow

    if not process.sessions and int(os.environ.get("RANK_SIZE") or 1) <= 1:
        raise SilentlyAccepted("allreduce in a program of one rank")
    if reduction != "sum" or fusion not in (0, 1, 2):
        raise NotImplementedError(f"allreduce of kind {reduction}, fusion {fusion}")
    if tensor.op.type in _VARIABLES:
        raise SilentlyAccepted(f"allreduce of the variable {tensor.name}: its operand must be the result of an op")
    process.calls.append(("allreduce", reduction, tuple(tensor.shape.as_list()), fusion))
    place, runs = len(process.calls), itertools.count(1)
    what = f"allreduce {reduction} of {tensor.dtype.name}{tensor.shape}"

    def reduce(array: np.ndarray) -> np.ndarray:
        by_rank = exchange(int(os.environ["RANK_ID"]), int(os.environ["RANK_SIZE"]), what, [array],
                           f"{place}.{next(runs)}")
        return np.sum([found for found, in by_rank], axis=0, dtype=array.dtype)

    @tensorflow.custom_gradient
    def reduced(own: Any) -> tuple[Any, Any]:
        result = tensorflow.compat.v1.py_func(reduce, [own], own.dtype)
        result.set_shape(own.shape)
        return result, lambda gradient: allreduce(gradient, "sum", fusion=0)

    return reduced(tensor)


def exchange(rank: int, size: int, what: str, arrays: Sequence[np.ndarray], name: str = "") -> list[list[np.ndarray]]:
    """Give a rank's arrays, as its next collective, or as one with a name; return those of all ranks.

    Raises:
        RuntimeError: another rank makes another collective, or none.
    """
    process.num_collectives += 1
    name = name or str(process.num_collectives)
    give(rank, name, what, arrays)
    return [_take(other, name, what) for other in range(size)]


def give(rank: int, name: object, what: str, arrays: Sequence[np.ndarray]) -> None:
    """Give arrays as those of a rank.

    Args:
        rank: whose.
        name: of its collective; by default its number, from 1.
        what: describes the collective.
        arrays: of the rank.
    """
    path = _path(rank, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    buffer = io.BytesIO()
    np.savez(buffer, *arrays, what=np.array(what))
    with open(f"{path}.part", "wb") as file:
        file.write(buffer.getvalue())
    os.replace(f"{path}.part", path)


def _take(rank: int, name: str, what: str) -> list[np.ndarray]:
    path, deadline = _path(rank, name), time.monotonic() + _PATIENCE_SECONDS
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise RuntimeError(f"HCCL: rank {rank} does not make collective {name}, {what}: all wait for ever")
        time.sleep(0.002)
    with np.load(path) as found:
        if str(found["what"]) != what:
            raise RuntimeError(f"HCCL: rank {rank} makes {found['what']} as collective {name}, this rank {what}: "
                               "all wait for ever")
        return [found[f"arr_{index}"] for index in range(len(found.files) - 1)]


def _path(rank: int, name: object) -> str:
    folder = os.environ.get("ZOO_FAKE_HCCL_FOLDER") or os.path.dirname(os.environ["RANK_TABLE_FILE"])
    return os.path.join(folder, "hccl", f"{name}-rank-{rank}.npz")
