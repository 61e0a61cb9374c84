"""Training with several processes: the flags, the rank of this process, starting the others and meeting them.

All ranks meet at the address of rank 0, and each learns the addresses of all, before TensorFlow connects them: it waits
silently, without a limit, and ignores signals. A rank sends rank 0 its number and that of all. The answer, in JSON, is
the addresses when all are there, or a complaint.
"""
from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from multiprocessing.connection import wait
from typing import Any, Callable, Generator, Iterable, NamedTuple, Sequence

from common.cli import program
from common.cli.parser import FlagSet, FlagValues
from common.devices import ranks, selection
from common.devices.selection import Rank
from common.errors import FlagError, LostRank, ZooError

PIPE = "ZOO_LAUNCHER_PIPE"  # environment variable: read end of a pipe that is closed when the launcher ends
STOP_SECONDS = 120.0  # for all ranks to save and end after a signal
_TURN_SECONDS = 0.3
_NETWORK_SECONDS = 2.0  # for a connection, and for what is sent through it
_NOTICE_SECONDS = 10.0


class Job(NamedTuple):
    """The processes to start: on each machine one per device; the number of machines, and which this is, from 0."""

    processes: int
    nodes: int = 1
    node: int = 0

    @property
    def size(self) -> int:
        """Number of processes on all machines."""
        return self.processes * self.nodes

    @property
    def first_rank(self) -> int:
        """Rank of the first process on this machine."""
        return self.node * self.processes


def define(flags: FlagSet) -> None:
    """Define the flags."""
    accelerator = flags.accelerator
    accelerator.boolean("distributed", False, "Train with --nproc_per_node processes.")
    accelerator.integer("nproc_per_node", 1, "Processes on this machine, one per device. They share a batch.", 1, 1024)
    accelerator.integer("nnode", 1, "Number of machines.", 1, 4096)
    accelerator.integer("node_rank", 0, "Rank of this machine.")
    accelerator.string("master_addr", "127.0.0.1", "Address of the machine of rank 0, where the ranks meet.")
    accelerator.integer("master_port", 29500, "Port of rank 0 there; rank N uses this plus N.", 1, 65535)
    accelerator.number("peer_minutes", 5.0, "Minutes to wait for the other ranks.")


def check(flags: FlagValues) -> None:
    """Raise FlagError if several processes are requested without --distributed."""
    if flags.nproc_per_node * flags.nnode > 1 and not flags.distributed:
        raise FlagError(f"--nproc_per_node={flags.nproc_per_node} --nnode={flags.nnode}: needs --distributed=True")


def resolve_rank(flags: FlagValues, device_kind: str) -> Rank:
    """Return the rank of this process, or of the first process that it is to start.

    Raises FlagError if a step has fewer samples than processes, NPUs cannot share them evenly, several processes are to
    be diagnosed, or ranks on several machines do not know where rank 0 is; ZooError if the environment defines several
    processes, but not how they connect.
    """
    if not flags.distributed and device_kind != "npu":
        ignored = ranks.TF_CONFIG if os.environ.pop(ranks.TF_CONFIG, "") else ranks.starter_of(os.environ)
        if ignored:
            print(f"Notice: {ignored} is ignored without --distributed", flush=True)
        return Rank()
    rank, job = ranks.current(os.environ, device_kind), _job(flags)
    if rank.size == 1 and job.size > 1:
        rank = Rank(job.first_rank, job.size)
    if rank.size > flags.batch_size:
        raise FlagError(f"--batch_size={flags.batch_size}: the {rank.size} processes share a batch, and each needs at "
                        "least one sample")
    if device_kind == "npu":
        if flags.batch_size % rank.size:
            raise FlagError(f"--batch_size={flags.batch_size}: {rank.size} NPUs share a batch evenly; choose a "
                            f"multiple of {rank.size}")
        if rank.size > 1:
            _check_npus(flags, job)
    elif rank.size > 1 and (flags.over_dump or flags.data_dump_flag or flags.profiling):
        raise FlagError("--over_dump, --data_dump_flag and --profiling diagnose one process: drop --distributed")
    starter = ranks.STARTERS.get(ranks.starter_of(os.environ) or "")
    if starter and device_kind != "npu":
        local_size = ranks.number_of(os.environ, starter.local_size, rank.size)
        if local_size < rank.size and not flags["master_addr"].present:
            raise FlagError(f"{starter.local_size}={local_size} of {rank.size} ranks are on this machine: tell all "
                            "where rank 0 is, with --master_addr")
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        if starter.local_rank and len(gpus) > 1:  # a rank takes one of those that it sees
            os.environ["CUDA_VISIBLE_DEVICES"] = gpus[ranks.number_of(os.environ, starter.local_rank, 0) % len(gpus)]
    return rank


def _check_npus(flags: FlagValues, job: Job) -> None:
    """Refuse groups of NPUs that cannot work together, and print advice; errors as `resolve_rank`."""
    product = selection.find_product(flags.npu_product)
    if os.environ.get("CM_CHIEF_IP") and product in ("A3", "950"):
        raise ZooError(f"CM_CHIEF_IP is for Ascend 910A and A2: {product} needs a rank table, in RANK_TABLE_FILE")
    servers: list[list[int]] = []
    if job.size > 1:
        first = ranks.number_of(os.environ, "ASCEND_DEVICE_ID", 0)
        servers = [list(range(first, first + job.processes))] * job.nodes
    elif os.environ.get("RANK_TABLE_FILE"):
        servers = [[device for device, _ in server] for server in ranks.servers_in(os.environ["RANK_TABLE_FILE"])]
    notices = [notice for devices in servers for notice in ranks.check_processes(product, devices, len(servers))]
    for notice in dict.fromkeys(notices):
        print(notice, file=sys.stderr, flush=True)


def start(flags: FlagValues, command: Sequence[str], device_kind: str) -> None:
    """Replace this process by the launcher of the processes that the flags ask for, unless this is one of them.

    Call it after all other checks, whose errors every rank would repeat. `command` is path and arguments of the entry.
    """
    job = _job(flags)
    if job.size > 1 and ranks.current(os.environ, device_kind).size == 1:
        if job.nodes > 1 and device_kind != "npu" and not flags["master_addr"].present:
            print(f"Warning: --nnode={job.nodes} without --master_addr: only ranks on this machine can meet",
                  file=sys.stderr, flush=True)
        launch(job, device_kind, command)
    watch_launcher()


def launch(job: Job, device_kind: str, command: Sequence[str]) -> None:
    """Run the launcher in place of this process, which has read data that it needs no more; arguments as of `start`."""
    atexit._run_exitfuncs()
    environment = program.environment()
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", "common.distributed.launcher", *map(str, job), device_kind,
                               *command], environment)


def watch_launcher() -> None:
    """In a rank: stop as on SIGTERM when the launcher has died, since a killed launcher cannot tell."""
    pipe = os.environ.pop(PIPE, None)
    if pipe:
        threading.Thread(target=_end_with_launcher, args=(int(pipe),), daemon=True).start()


def _end_with_launcher(pipe: int) -> None:
    os.read(pipe, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_SECONDS)
    os._exit(128 + signal.SIGTERM)  # it still waits for a rank that has died


def leave(status: int) -> None:
    """Exit this process, as its last action.

    One of several processes exits without shutting down TensorFlow's servers: in TensorFlow 2.6 that sometimes aborts
    when other processes have already ended.
    """
    if ranks.TF_CONFIG in os.environ:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _job(flags: FlagValues) -> Job:
    return Job(flags.nproc_per_node, flags.nnode, flags.node_rank)


def addresses(flags: FlagValues, rank: Rank) -> list[str]:
    """Return the address of each rank, "host:port", as far as it is known before they meet; "" otherwise."""
    known = ranks.workers_of(os.environ)[0]
    if not known and flags.master_port + rank.size > 65536:
        raise FlagError(f"--master_port={flags.master_port}: the {rank.size} ranks use the ports from there on, up to "
                        "65535; choose a lower one")
    return known or [f"{flags.master_addr}:{flags.master_port}", *[""] * (rank.size - 1)]


def meet(flags: FlagValues, rank: Rank, slurm_resolver: Callable[..., Any]) -> None:
    """Wait until all ranks have started, and write their addresses to TF_CONFIG, for TensorFlow.

    `slurm_resolver` is TensorFlow's SlurmClusterResolver. Raises FlagError if there are not enough ports, and as
    `exchange`.
    """
    known = addresses(flags, rank)
    if ranks.starter_of(os.environ) == ranks.SLURM:
        resolver = slurm_resolver(jobs=dict(worker=rank.size), port_base=flags.master_port, gpus_per_node=rank.size,
                                  gpus_per_task=1, auto_set_gpu=False)  # it lists as many tasks as it counts GPUs
        known = resolver.cluster_spec().as_dict()["worker"]
    workers = exchange(rank, known, 60.0 * flags.peer_minutes)
    config = dict(cluster=dict(worker=workers), task=dict(type="worker", index=rank.number))
    os.environ[ranks.TF_CONFIG] = json.dumps(config)


def exchange(rank: Rank, addresses: Sequence[str], seconds: float) -> list[str]:
    """Wait some seconds until all ranks have started, and print from time to time for whom; return their addresses.

    `addresses` are the "host:port" of each rank. Rank 0 listens at its own, which is free again afterwards. "" is one
    that is unknown: then the port of rank N is that of rank 0 plus N. Raises ZooError if rank 0 cannot listen, or ranks
    do not belong together; LostRank if some are still missing.
    """
    workers, began, next_notice = list(addresses), time.monotonic(), _NETWORK_SECONDS
    with contextlib.closing((_lead if rank.is_chief else _join)(rank, workers)) as meeting:
        for missing in meeting:
            waited = time.monotonic() - began
            if waited > seconds:
                raise LostRank(f"rank {rank.number}: waited {seconds / 60:g} minutes for {missing}; start all ranks, "
                               "or raise --peer_minutes")
            if waited > next_notice:
                print(f"Rank {rank.number} is waiting for {missing}", flush=True)
                next_notice = waited + _NOTICE_SECONDS
    return workers


def _lead(rank: Rank, workers: list[str]) -> Generator[str, None, None]:
    """As rank 0, complete the addresses and send them to the others; yield for whom it waits."""
    known, port = list(workers), int(workers[0].rpartition(":")[2])
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("", port))
        except OSError as error:
            raise ZooError(f"{workers[0]}: rank 0 cannot listen there ({error.strerror}); choose another port, with "
                           "--master_port or in TF_CONFIG") from None
        server.listen(128)
        present: dict[Any, int] = {server: 0}  # ranks, by what to wait for: this one, and connections of others
        while len(present) < rank.size:
            missing = sorted(set(range(rank.size)) - set(present.values()))
            yield ", ".join(known[number] or f"rank {number}" for number in missing)
            for ready in wait(present, _TURN_SECONDS):
                if ready is not server:  # a rank says nothing else, so this one has ended
                    del present[ready]
                    continue
                connection, (host, _) = server.accept()
                connection.settimeout(_NETWORK_SECONDS)
                number, size = 0, rank.size  # for which a port scanner is taken, and sent away
                with contextlib.suppress(OSError, ValueError):
                    number, size = map(int, connection.recv(64).split())
                if size != rank.size or not 0 <= number < size:
                    text = f"{host} started rank {number} of {size}, not one of the {rank.size} ranks of this job"
                    _answer([connection, *present], text)
                    raise ZooError(text)
                if number in present.values():
                    _answer([connection], f"another process is rank {number} already")
                else:
                    present[connection] = number
                    workers[number] = known[number] or f"{host}:{port + number}"
        _answer(present, workers)


def _answer(connections: Iterable[socket.socket], answer: str | list[str]) -> None:
    for connection in connections:
        with connection, contextlib.suppress(OSError):  # it may have ended
            connection.sendall(json.dumps(answer).encode("ascii"))


def _join(rank: Rank, workers: list[str]) -> Generator[str, None, None]:
    """As another rank, connect to rank 0 and take the addresses that it sends; yield for whom it waits."""
    host, _, port = workers[0].rpartition(":")
    while True:
        with contextlib.suppress(OSError, ValueError), \
                socket.create_connection((host, int(port)), _NETWORK_SECONDS) as connection:
            connection.sendall(b"%d %d" % (rank.number, rank.size))
            while not wait([connection], _TURN_SECONDS):
                yield "other ranks"
            answer = json.loads(connection.makefile("rb").read())
            break
        time.sleep(_TURN_SECONDS)
        yield f"rank 0 at {workers[0]}"
    if isinstance(answer, str):
        raise ZooError(f"rank 0 reports: {answer}")
    workers[:] = answer


def notices(flags: FlagValues, rank: Rank, shared: str) -> list[str]:
    """Return lines about the rank of this process and about flags without effect.

    `shared` is what the processes share in every step, for example "64 pairs".
    """
    lines = []
    starter = ranks.starter_of(os.environ)
    if flags.nnode == 1 and starter in (None, ranks.TF_CONFIG):
        lines += [f"Warning: --{name} has no effect on one machine" for name in
                  ("node_rank", "master_addr", "master_port") if flags[name].present]
    if rank.size > 1:
        job = _job(flags)
        if flags["distributed"].present and not flags.distributed:
            lines.append(f"Warning: --distributed=False has no effect: {starter} defines {rank.size} processes")
        given = any(flags[name].present for name in ("nproc_per_node", "nnode"))
        if given and job.size != rank.size:
            lines.append(f"Warning: --nproc_per_node={job.processes} --nnode={job.nodes} have no effect: {starter} "
                         f"defines {rank.size} processes")
        source = f" ({starter})" if starter else ""
        lines.append(f"Rank {rank.number} of {rank.size}{source}, which share the {shared} of every step")
    return lines
