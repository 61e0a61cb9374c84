"""The launcher of several processes that train one model, a program that `processes.start` runs.

It starts the same command once per device of this machine, with a rank in its environment (see `devices.ranks`), and
stops all when one of them fails. Ranks of other machines are not its concern: TensorFlow notices when they fail.
"""
from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from typing import IO, Mapping, MutableMapping, Sequence

from common.cli import program
from common.cli.program import StopRequest
from common.devices.ranks import current, number_of
from common.distributed.processes import PIPE, STOP_SECONDS, Job
from common.distributed.rendezvous import free_ports
from common.errors import LostRank, ZooError

_RESUME_ADVICE = "; the same command resumes from the last checkpoint"
# of programs that print the reason themselves: errors, and signals, which may have reached a rank of another machine
_EXPLAINED_STATUSES = (1, 2, LostRank.status, 128 + signal.SIGHUP, 128 + signal.SIGINT, 128 + signal.SIGTERM)
_POLL_SECONDS = 0.1
_CHIEF_SECONDS = 20.0  # for rank 0 to end after another rank has failed
_OTHERS_SECONDS = 5.0  # for the other ranks, which have nothing to save, and for one that was lost to end


@dataclasses.dataclass(frozen=True)
class _RankProcess:
    """The process of a rank.

    Attributes:
        number: the rank.
        process: the process.
        stderr: file with its error output; None for rank 0, which shares the launcher's stderr.
    """

    number: int
    process: subprocess.Popen
    stderr: IO[bytes] | None


@program.entry
def main(arguments: list[str], stop: StopRequest) -> int:
    """Start a job, given as JSON, on a kind of device by a command; return the exit status."""
    job, device_kind, *command = arguments
    return start([sys.executable, *command], Job(**json.loads(job)), device_kind, os.environ, stop)


def start(command: Sequence[str], job: Job, device_kind: str, environment: MutableMapping[str, str], stop: StopRequest
          ) -> int:
    """Start one process per device of this machine and wait for all of them.

    If one fails, the others are stopped within a bounded time. Only the output of rank 0 is shown, and the error output
    of another rank if that is the first to fail.

    Args:
        command: the command to start.
        job: all processes.
        device_kind: "npu", "gpu" or "cpu".
        environment: os.environ.
        stop: signals are forwarded to all ranks.

    Returns:
        0 if every rank returned 0, else the status of the first rank that failed.

    Raises:
        ZooError: the processes cannot be set up as requested.
    """
    if not 0 <= job.node < job.nodes:
        raise ZooError(f"--node_rank={job.node}: expected 0 to {job.nodes - 1}, --nnode is {job.nodes}")
    if device_kind != "npu":
        _visible_gpus(job, environment)
    elif job.size > 1:
        current(_rank_environment(job, 0, [], device_kind, environment), device_kind)
    workers = [f"127.0.0.1:{port}" for port in free_ports(job.processes)]
    with stop.deferred():
        ranks: list[_RankProcess] = []
        pipe, write_end = os.pipe()
        try:
            for local_rank in range(job.processes):
                variables = _rank_environment(job, local_rank, workers, device_kind, environment)
                ranks.append(_start_rank(command, job, local_rank, dict(variables, **{PIPE: str(pipe)})))
            return _wait(ranks, stop)
        finally:
            _end(ranks)
            os.close(pipe)
            os.close(write_end)


def _rank_environment(job: Job, local_rank: int, workers: Sequence[str], device_kind: str,
                      environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a rank.

    Args:
        job: all processes.
        local_rank: index of the process on this machine.
        workers: addresses for the ranks of this machine; those of several machines meet at --master_addr instead.
        device_kind: "npu", "gpu" or "cpu".
        environment: that of the launcher.
    """
    rank = job.first_rank + local_rank
    variables = dict(environment, RANK_ID=str(rank), RANK_SIZE=str(job.size))
    if device_kind != "npu":
        if job.nodes == 1:
            config = dict(cluster=dict(worker=workers), task=dict(type="worker", index=rank))
            variables["TF_CONFIG"] = json.dumps(config)
        return dict(variables, ASCEND_DEVICE_ID=str(local_rank),
                    CUDA_VISIBLE_DEVICES=_visible_gpus(job, environment)[local_rank])
    variables["ASCEND_DEVICE_ID"] = str(number_of(environment, "ASCEND_DEVICE_ID", 0) + local_rank)
    if environment.get("CM_CHIEF_IP"):  # without a rank table, with a chief
        variables["CM_WORKER_SIZE"] = variables.pop("RANK_SIZE")
    return variables


def _visible_gpus(job: Job, environment: Mapping[str, str]) -> list[str]:
    """Return CUDA_VISIBLE_DEVICES of each rank on this machine.

    Raises:
        ZooError: it lists fewer GPUs than there are ranks.
    """
    listed = environment.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return [str(gpu) for gpu in range(job.processes)]
    gpus = [gpu.strip() for gpu in listed.split(",")]
    if gpus[0] in ("", "-1"):  # GPUs are hidden
        return [listed] * job.processes
    if len(gpus) < job.processes:
        raise ZooError(f"CUDA_VISIBLE_DEVICES={listed}: lists {len(gpus)} GPUs for --nproc_per_node={job.processes}; "
                       "list one for each process, or use --device=cpu")
    return gpus


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


def _wait(ranks: Sequence[_RankProcess], stop: StopRequest) -> int:
    """Wait until all ranks have ended or one has failed; return the exit status."""
    deadline = failed_at = None
    while True:
        is_running = any(rank.process.poll() is None for rank in ranks)
        failed = [rank for rank in ranks if rank.process.poll()]
        if stop.requested:
            if deadline is None:
                deadline = time.monotonic() + STOP_SECONDS
                _terminate(ranks)
            if not is_running or time.monotonic() > deadline:
                stop.check()
        elif failed:
            failed_at = failed_at or time.monotonic()
            first = min(failed, key=_blame)
            status = first.process.returncode
            is_cause_known = status != LostRank.status or time.monotonic() > failed_at + _OTHERS_SECONDS
            if is_cause_known or not is_running:
                _explain(first, ranks[0])
                return status if status > 0 else 128 - status
        elif not is_running:
            return 0
        time.sleep(_POLL_SECONDS)


def _blame(failed: _RankProcess) -> int:
    """Return how far from the cause a failure is: a killed rank makes others fail, and these say that they lost it."""
    status = failed.process.returncode
    return 0 if status < 0 else 2 if status == LostRank.status else 1


def _explain(failed: _RankProcess, first_rank: _RankProcess) -> None:
    """Print why a rank failed, unless rank 0 prints the same reason."""
    status = failed.process.returncode
    lines = _error_lines(failed) if status in _EXPLAINED_STATUSES else []
    if status not in _EXPLAINED_STATUSES or (failed.stderr and not lines):
        ending = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
        advice = _RESUME_ADVICE if status < 0 or status >= 128 else ""
        lines = [f"[Error] rank {failed.number} {ending}: the other ranks are stopped{advice}"]
    elif lines and first_rank.number == 0:
        try:  # a mistake often affects all ranks, and then rank 0 reports it
            if first_rank.process.wait(_OTHERS_SECONDS) == status:
                return
        except subprocess.TimeoutExpired:
            pass
    for line in lines:
        print(line, file=sys.stderr, flush=True)


def _error_lines(rank: _RankProcess) -> list[str]:
    """Return the last error line of a rank, or the last lines of its stderr if it has none."""
    if rank.stderr is None:
        return []
    rank.stderr.seek(0)
    lines = rank.stderr.read().decode("utf-8", "replace").splitlines()
    return [line for line in lines if line.startswith("[Error]")][-1:] or lines[-30:]


def _terminate(ranks: Sequence[_RankProcess]) -> None:
    for rank in ranks:
        if rank.process.poll() is None:
            rank.process.terminate()


def _end(ranks: Sequence[_RankProcess]) -> None:
    """Terminate the ranks, and kill those that do not end: a rank that waits for a lost one handles no signal."""
    began = time.monotonic()
    _terminate(ranks)
    for rank in ranks:
        seconds = _OTHERS_SECONDS if rank.number else _CHIEF_SECONDS
        try:
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
