"""Collectives over the NPUs of a job, of which this process is the only one that runs: values come back as they are.

STRICTER: the real ones do nothing, without a word, when no NPU is the default.
"""
from __future__ import annotations

import os
from typing import Any, Sequence

from adapter_record import process
from adapter_schema import SilentlyAccepted

_REDUCTIONS = ("mean", "max", "min", "prod", "sum")


def _require_default(name: str) -> None:
    if not process.openings or process.openings[0].num_as_default != 1:
        raise SilentlyAccepted(f"{name} without open().as_default() does nothing")
    if int(os.environ.get("RANK_SIZE", "1")) <= 1:
        raise SilentlyAccepted(f"{name} with RANK_SIZE 1 does nothing")


def all_reduce(values: Sequence[Any], reduction: str = "mean", fusion: int = 1, fusion_id: int = -1,
               group: str = "hccl_world_group") -> Sequence[Any]:
    """Reduce tensors over all ranks, within a graph."""
    _require_default("all_reduce")
    if reduction not in _REDUCTIONS:
        raise ValueError(f"reduction {reduction!r}, expected one of {_REDUCTIONS}")
    if not isinstance(values, (list, tuple)):
        raise SilentlyAccepted("all_reduce of what is no list")
    import tensorflow

    if tensorflow.executing_eagerly():
        raise SilentlyAccepted("all_reduce outside of a tf.function is not run on the NPU")
    process.calls.append(("all_reduce", reduction, len(values)))
    return values


def broadcast(values: Sequence[Any], root_rank: int = 0, fusion: int = 2, fusion_id: int = 0,
              group: str = "hccl_world_group") -> None:
    """Give variables the values of one rank; once, and before they are updated."""
    _require_default("broadcast")
    if any(not hasattr(value, "assign") for value in values):
        raise SilentlyAccepted("broadcast of what is no variable")
    if any(name == "broadcast" for name, *_ in process.calls):
        raise SilentlyAccepted("broadcast is called again")
    if any(name == "all_reduce" for name, *_ in process.calls):
        raise SilentlyAccepted("broadcast after the first step")
    process.calls.append(("broadcast", root_rank, len(values)))
