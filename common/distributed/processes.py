"""Training with several processes: the flags, the rank of this process, and starting the others."""
from __future__ import annotations

import os
import sys
from typing import Sequence

from common.cli.parser import FlagSet, FlagValues
from common.cli.program import StopRequest
from common.devices import npu_product, ranks
from common.devices.ranks import workers_of
from common.devices.selection import Rank
from common.distributed import launcher, peers
from common.errors import FlagError, ZooError

_SOURCE = "the environment (TF_CONFIG, or RANK_SIZE on NPUs) defines"


def define(flags: FlagSet) -> None:
    """Define the flags."""
    accelerator = flags.accelerator
    accelerator.boolean("distributed", False, "Train with --nproc_per_node processes.")
    accelerator.integer("nproc_per_node", 1, "Processes on this machine, one per device. They share a batch.", 1, 1024)
    accelerator.integer("nnode", 1, "Number of machines.", 1, 4096)
    accelerator.integer("node_rank", 0, "Rank of this machine.")
    accelerator.string("master_addr", "127.0.0.1", "Address of the machine of rank 0.")
    accelerator.integer("master_port", 29500, "Port of that machine where the launchers connect.", 1, 65535)
    accelerator.number("peer_minutes", 5.0, "Minutes to wait for the other workers of a TF_CONFIG.")


def check(flags: FlagValues) -> None:
    """Raise FlagError if several processes are requested without --distributed."""
    if flags.nproc_per_node * flags.nnode > 1 and not flags.distributed:
        raise FlagError(f"--nproc_per_node={flags.nproc_per_node} --nnode={flags.nnode}: needs --distributed=True")


def resolve_rank(flags: FlagValues, device_kind: str) -> Rank:
    """Return the rank of this process, or of the first process that it is to start.

    Raises:
        FlagError: a step has fewer samples than processes, NPUs cannot share them evenly, or several processes are to
            be diagnosed.
        ZooError: the environment defines several processes, but not how they connect.
    """
    if not flags.distributed and device_kind != "npu" and os.environ.pop("TF_CONFIG", ""):
        print("Notice: TF_CONFIG is ignored without --distributed", flush=True)
    rank, job = ranks.current(os.environ, device_kind), _job(flags)
    if rank.size == 1 and job.size > 1:
        rank = Rank(job.node * job.processes, job.size)
    if rank.size > flags.batch_size:
        raise FlagError(f"--batch_size={flags.batch_size}: the {rank.size} processes share a batch, and each needs at "
                        "least one sample")
    if device_kind == "npu" and flags.batch_size % rank.size:
        raise FlagError(f"--batch_size={flags.batch_size}: {rank.size} NPUs share a batch evenly, choose a multiple of "
                        f"{rank.size}")
    if device_kind == "npu" and rank.size > 1:
        _check_npus(flags, job)
    if rank.size > 1 and device_kind != "npu" and (flags.over_dump or flags.data_dump_flag or flags.profiling):
        raise FlagError("--over_dump, --data_dump_flag and --profiling diagnose one process: drop --distributed")
    return rank


def _check_npus(flags: FlagValues, job: launcher.Job) -> None:
    """Refuse groups of NPUs that cannot work together, and print advice; errors as `resolve_rank`."""
    product = npu_product.find(flags.npu_product)
    if os.environ.get("CM_CHIEF_IP") and product in ("A3", "950"):
        raise ZooError(f"CM_CHIEF_IP is for Ascend 910A and A2: {product} needs a rank table, in RANK_TABLE_FILE")
    servers: list[list[int]] = []
    if job.size > 1:
        first = ranks.number_of(os.environ, "ASCEND_DEVICE_ID", 0)
        servers = [list(range(first, first + job.processes))] * job.nodes
    elif os.environ.get("RANK_TABLE_FILE"):
        servers = [[device for device, _ in server] for server in ranks.servers_in(os.environ["RANK_TABLE_FILE"])]
    notices = [notice for devices in servers for notice in npu_product.check_processes(product, devices, len(servers))]
    for notice in dict.fromkeys(notices):
        print(notice, file=sys.stderr, flush=True)


def start(flags: FlagValues, command: Sequence[str], device_kind: str, stop: StopRequest) -> int | None:
    """Start the processes that the flags ask for and wait for them, unless this is one of them.

    Call it after all other checks, whose errors every rank would repeat.

    Args:
        flags: parsed flags.
        command: path and arguments of the train entry.
        device_kind: "npu", "gpu" or "cpu".
        stop: signals are forwarded to all ranks.

    Returns:
        The exit status; None if this process is to train.
    """
    job = _job(flags)
    if job.size > 1 and ranks.current(os.environ, device_kind).size == 1:
        if job.nodes > 1 and device_kind != "npu" and not flags["master_addr"].present:
            print(f"Warning: --nnode={job.nodes} without --master_addr: only launchers on this machine can connect",
                  file=sys.stderr, flush=True)
        return launcher.start([sys.executable, *command], job, device_kind, os.environ, stop)
    is_launched = launcher.watch_launcher(os.environ)
    workers, number = workers_of(os.environ) if device_kind != "npu" else ([], 0)
    if len(workers) > 1 and not is_launched:
        peers.wait(workers, number, 60.0 * flags.peer_minutes, lambda line: print(line, flush=True))
    return None


def _job(flags: FlagValues) -> launcher.Job:
    return launcher.Job(flags.nproc_per_node, flags.nnode, flags.node_rank, flags.master_addr, flags.master_port)


def notices(flags: FlagValues, rank: Rank, shared: str) -> list[str]:
    """Return lines about the rank of this process and about flags without effect.

    Args:
        flags: parsed flags.
        rank: rank of this process.
        shared: what the processes share in every step, for example "64 pairs".
    """
    lines = []
    if flags.nnode == 1:
        lines += [f"Warning: --{name} has no effect on one machine" for name in
                  ("node_rank", "master_addr", "master_port") if flags[name].present]
    if rank.size > 1:
        job = _job(flags)
        if flags["distributed"].present and not flags.distributed:
            lines.append(f"Warning: --distributed=False has no effect: {_SOURCE} {rank.size} processes")
        given = any(flags[name].present for name in ("nproc_per_node", "nnode"))
        if given and job.size != rank.size:
            lines.append(f"Warning: --nproc_per_node={job.processes} --nnode={job.nodes} have no effect: {_SOURCE} "
                         f"{rank.size} processes")
        lines.append(f"Rank {rank.number} of {rank.size}, which share the {shared} of every step")
    return lines
