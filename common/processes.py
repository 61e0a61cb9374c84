"""The flags of training with several processes, and starting them. No TensorFlow."""
from __future__ import annotations

import os
import sys
from typing import Sequence

from common import launch
from common.flag_set import FlagSet, FlagValues
from common.program import FlagError, StopRequest


def define(flags: FlagSet) -> None:
    """The flags."""
    flags.boolean("distributed", False, "train with nproc_per_node processes")
    flags.integer("nproc_per_node", 1, "processes on this machine, one for each device", 1, 1024)
    flags.integer("nnode", 1, "machines", 1, 4096)
    flags.integer("node_rank", 0, "number of this machine")
    flags.string("master_addr", "127.0.0.1", "address of machine 0")
    flags.integer("master_port", 29500, "port of machine 0 where the machines meet", 1, 65535)


def check(flags: FlagValues) -> None:
    """Refuse flags that cannot be meant.

    Raises:
        FlagError: several processes without --distributed, or more of them than samples in a step.
    """
    num = flags.nproc_per_node * flags.nnode
    if num > 1 and not flags.distributed:
        raise FlagError(f"--nproc_per_node={flags.nproc_per_node} --nnode={flags.nnode} is for --distributed=True")
    if num > flags.batch_size:
        raise FlagError(f"--batch_size={flags.batch_size}: is that of all {num} processes together; each needs a "
                        "sample")


def start(flags: FlagValues, rank: launch.Rank, command: Sequence[str], device_kind: str, stop: StopRequest
          ) -> int | None:
    """Start the processes that the flags ask for, unless this is one of them, and wait for them.

    Args:
        flags: parsed flags.
        rank: from `launch.current_rank`.
        command: path and arguments of the train entry.
        device_kind: "npu", "gpu" or "cpu".
        stop: signals are handed on to all ranks.

    Returns:
        Their exit status; None when this process is to train.

    Raises:
        FlagError: diagnosis of several processes is asked for, or NPUs cannot share a batch evenly.
    """
    job = launch.Job(flags.nproc_per_node, flags.nnode, flags.node_rank, flags.master_addr, flags.master_port)
    num = max(rank.size, job.size)
    if device_kind == "npu" and flags.batch_size % num:
        raise FlagError(f"--batch_size={flags.batch_size}: {num} NPUs share it evenly; take a multiple of {num}")
    if rank.size == 1 and job.size > 1:
        return launch.start([sys.executable, *command], job, device_kind, os.environ, stop)
    if rank.size > 1 and device_kind != "npu" and (flags.over_dump or flags.data_dump_flag or flags.profiling):
        raise FlagError("--over_dump, --data_dump_flag and --profiling diagnose one process: leave --distributed away")
    return None


def notices(flags: FlagValues, rank: launch.Rank, shared: str) -> list[str]:
    """What a process says about its place among several.

    Args:
        flags: parsed flags.
        rank: of this process.
        shared: what the processes share in every step, for example "64 pairs".
    """
    lines = []
    if flags.nnode == 1:
        lines += [f"Warning: --{name} has no effect on one machine" for name in
                  ("node_rank", "master_addr", "master_port") if flags[name].present]
    if rank.size > 1:
        lines.append(f"Rank {rank.number} of {rank.size}, which share the {shared} of every step")
    return lines
