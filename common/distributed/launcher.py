"""The launcher of several processes that train one model, a program that `processes.start` runs.

It starts the same command once per device of this machine, with a rank in its environment (see `devices.ranks`), and
stops all when one of them fails. Ranks of other machines are not its concern: TensorFlow notices when they fail.
"""
from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import IO, Mapping, NamedTuple, Sequence

from common.cli import program
from common.cli.program import Stopped, StopRequest
from common.devices.ranks import current, number_of
from common.distributed.processes import PIPE, STOP_SECONDS, Job
from common.errors import LostRank, ZooError

_RESUME_ADVICE = "; the same command resumes from the last checkpoint"
# of programs that print the reason themselves: errors, and signals, which may have reached a rank of another machine
_EXPLAINED_STATUSES = (1, 2, LostRank.status, 128 + signal.SIGHUP, 128 + signal.SIGINT, 128 + signal.SIGTERM)
_POLL_SECONDS = 0.1
_PORTS = range(20000, 32000)  # below the ports that systems use for outgoing connections
_CHIEF_SECONDS = 20.0  # for rank 0 to end after another rank has failed
_OTHERS_SECONDS = 5.0  # for the other ranks, which have nothing to save, and for one that was lost to end


class _RankProcess(NamedTuple):
    """The process of a rank, and a file with its error output: None for rank 0, which shares that of the launcher."""

    number: int
    process: subprocess.Popen
    stderr: IO[bytes] | None


@program.entry
def main(arguments: list[str], stop: StopRequest) -> int:
    """Start a job, given as its three numbers, on a kind of device by a command; return the exit status."""
    processes, nodes, node, device_kind, *command = arguments
    job = Job(int(processes), int(nodes), int(node))
    return start([sys.executable, *command], job, device_kind, os.environ, stop)


def start(command: Sequence[str], job: Job, device_kind: str, environment: Mapping[str, str], stop: StopRequest) -> int:
    """Start one process per device of this machine, and wait for all of them or until a signal stops them.

    If one fails, the others are stopped within a bounded time. Only the output of rank 0 is shown, and the error output
    of another rank if that is the first to fail. Return 0 if every rank returned 0, else the status of the first rank
    that failed. Raises ZooError if the processes cannot be set up as requested.
    """
    if not 0 <= job.node < job.nodes:
        raise ZooError(f"--node_rank={job.node}: expected 0 to {job.nodes - 1}, --nnode is {job.nodes}")
    workers = [f"127.0.0.1:{port}" for port in free_ports(job.processes)]
    environments = [_rank_environment(job, local_rank, workers, device_kind, environment)
                    for local_rank in range(job.processes)]
    if device_kind == "npu":
        current(environments[0], device_kind)
    ranks: list[_RankProcess] = []
    chief_seconds, others_seconds = _CHIEF_SECONDS, _OTHERS_SECONDS
    pipe, write_end = os.pipe()
    try:
        for local_rank, variables in enumerate(environments):
            ranks.append(_start_rank(command, job, local_rank, dict(variables, **{PIPE: str(pipe)})))
        return _wait(ranks)
    except Stopped:
        chief_seconds = others_seconds = STOP_SECONDS
        raise
    finally:
        with stop.deferred():
            _end(ranks, chief_seconds, others_seconds)
        os.close(pipe)
        os.close(write_end)


def free_ports(num: int) -> list[int]:
    """Choose unused ports, from a range where no outgoing connection takes them before the ranks do."""
    ports: list[int] = []
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        if len(ports) == num:
            break
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            ports.append(port)
    return ports


def _rank_environment(job: Job, local_rank: int, workers: Sequence[str], device_kind: str,
                      environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the process with this index on this machine, made from that of the launcher.

    `workers` are addresses for the ranks of this machine; those of several machines meet at --master_addr instead.
    """
    rank = job.first_rank + local_rank
    variables = dict(environment, RANK_ID=str(rank), RANK_SIZE=str(job.size), ASCEND_DEVICE_ID=str(local_rank))
    if device_kind == "npu":
        variables["ASCEND_DEVICE_ID"] = str(number_of(environment, "ASCEND_DEVICE_ID", 0) + local_rank)
        if environment.get("CM_CHIEF_IP"):  # without a rank table, with a chief
            variables["CM_WORKER_SIZE"] = variables.pop("RANK_SIZE")
        return variables
    if job.nodes == 1:
        config = dict(cluster=dict(worker=workers), task=dict(type="worker", index=rank))
        variables["TF_CONFIG"] = json.dumps(config)
    listed = environment.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(job.processes))))
    gpus = [gpu.strip() for gpu in listed.split(",")]
    if gpus[0] in ("", "-1"):  # GPUs are hidden
        gpus = [listed] * job.processes
    if len(gpus) < job.processes:
        raise ZooError(f"CUDA_VISIBLE_DEVICES={listed}: lists {len(gpus)} GPUs for --nproc_per_node={job.processes}; "
                       "list one for each process, or use --device=cpu")
    return dict(variables, CUDA_VISIBLE_DEVICES=gpus[local_rank])


def _start_rank(command: Sequence[str], job: Job, local_rank: int, environment: Mapping[str, str]) -> _RankProcess:
    rank = job.first_rank + local_rank
    stderr = None if rank == 0 else tempfile.TemporaryFile()  # noqa: SIM115 - closed in _end
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL if stderr else None, stderr=stderr,
                               pass_fds=(int(environment[PIPE]),))
    if hasattr(os, "sched_setaffinity"):
        usable = sorted(os.sched_getaffinity(0))
        if len(usable) >= job.processes:  # each rank gets its share of the processors
            os.sched_setaffinity(process.pid, usable[local_rank::job.processes])
    return _RankProcess(rank, process, stderr)


def _wait(ranks: Sequence[_RankProcess]) -> int:
    """Wait until all ranks have ended or one has failed; return the exit status."""
    failed_at = None
    while True:
        statuses = [rank.process.poll() for rank in ranks]
        failed = [(status, rank) for status, rank in zip(statuses, ranks) if status]
        if failed:
            failed_at = failed_at or time.monotonic()
            # a killed rank makes others fail, and these say that they lost it
            status, first = min(failed, key=lambda pair: (pair[0] == LostRank.status, pair[0] > 0))
            if status != LostRank.status or None not in statuses or time.monotonic() > failed_at + _OTHERS_SECONDS:
                _explain(first, ranks[0])
                return status if status > 0 else 128 - status
        elif None not in statuses:
            return 0
        time.sleep(_POLL_SECONDS)


def _explain(failed: _RankProcess, first_rank: _RankProcess) -> None:
    """Print why a rank failed, unless rank 0 prints the same reason."""
    status, lines = failed.process.returncode, []
    if status in _EXPLAINED_STATUSES:
        if not failed.stderr:
            return
        lines = _error_lines(failed.stderr)
        if lines and not first_rank.stderr:  # a mistake often affects all ranks, and then rank 0 reports it
            with contextlib.suppress(subprocess.TimeoutExpired):
                if first_rank.process.wait(_OTHERS_SECONDS) == status:
                    return
    if not lines:
        ending = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
        advice = _RESUME_ADVICE if status < 0 or status >= 128 else ""
        lines = [f"[Error] rank {failed.number} {ending}: the other ranks are stopped{advice}"]
    print(*lines, sep="\n", file=sys.stderr, flush=True)


def _error_lines(stderr: IO[bytes]) -> list[str]:
    """Return the last error line of a rank, or the last lines if it has none."""
    stderr.seek(0)
    lines = stderr.read().decode("utf-8", "replace").splitlines()
    return [line for line in lines if line.startswith("[Error]")][-1:] or lines[-30:]


def _end(ranks: Sequence[_RankProcess], chief_seconds: float, others_seconds: float) -> None:
    """Terminate the ranks, and kill those that do not end: a rank that waits for a lost one handles no signal."""
    began = time.monotonic()
    for rank in ranks:
        rank.process.terminate()  # nothing if it has ended
    for rank in ranks:
        try:
            seconds = others_seconds if rank.number else chief_seconds
            rank.process.wait(max(0.0, began + seconds - time.monotonic()))
        except subprocess.TimeoutExpired:
            if rank.number == 0:
                print("[Error] rank 0 does not end by itself, because it waits for a lost rank: it is killed",
                      file=sys.stderr, flush=True)
            rank.process.kill()
            rank.process.wait()
        if rank.stderr:
            rank.stderr.close()


if __name__ == "__main__":
    sys.exit(main())
