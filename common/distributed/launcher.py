"""The launcher of several processes that train one model. No TensorFlow.

It starts the same command once for each device of this machine, with a rank in its environment (see `ranks`); launchers
of several machines meet (see `meeting`) and stop when one of them fails.
"""
from __future__ import annotations

import atexit
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import IO, Mapping, MutableMapping, Sequence

from common.cli.program import Stopped, StopRequest
from common.devices.ranks import npu_rank, number_of, workers_of
from common.distributed.rendezvous import POLL_SECONDS, Failure, Job, Meeting, meet
from common.errors import ZooError

NPU_PROCESSES = (1, 2, 4, 8)
_PIPE = "ZOO_LAUNCHER_PIPE"  # variable: the reading end of a pipe that ends when the launcher does
_PATIENCE_SECONDS = 20.0  # for rank 0 to end when one has failed
_HELPER_PATIENCE_SECONDS = 5.0  # for the others, who have nothing to save
_GO_ON = "; the same command goes on from the last checkpoint"
_SAID = (1, 2)  # exit statuses of those who say why
_STOP_SECONDS = 120.0  # for ranks to save and end when they are asked to
_STOPS = (128 + signal.SIGHUP, 128 + signal.SIGINT, 128 + signal.SIGTERM)


@dataclasses.dataclass(frozen=True)
class _Started:
    """A rank that was started.

    Attributes:
        number: of the rank.
        process: its process.
        words: what it writes to stderr; None for rank 0, who writes to the launcher's.
    """

    number: int
    process: subprocess.Popen
    words: IO[bytes] | None


def start(command: Sequence[str], job: Job, device_kind: str, environment: MutableMapping[str, str], stop: StopRequest
          ) -> int:
    """Start one process for each device of this machine and wait for all.

    When one fails, the others are stopped within a bounded time. Rank 0 speaks for all: of another rank the words on
    stderr are shown when it is the first to fail.

    Args:
        command: the words of the command.
        job: the processes.
        device_kind: "npu", "gpu" or "cpu".
        environment: os.environ.
        stop: signals are handed on to all ranks.

    Returns:
        0 when every rank returned 0, else the status of the first that failed.

    Raises:
        ZooError: the processes cannot be set up as asked.
    """
    if device_kind == "npu" and job.processes not in NPU_PROCESSES:
        raise ZooError(f"--nproc_per_node={job.processes}: an Ascend server takes "
                       f"{', '.join(map(str, NPU_PROCESSES[:-1]))} or {NPU_PROCESSES[-1]} processes")
    if not 0 <= job.node < job.nodes:
        raise ZooError(f"--node_rank={job.node}: expected 0 to {job.nodes - 1}, --nnode is {job.nodes}")
    if device_kind == "npu" and job.size > 1:
        first = job.node * job.processes
        npu_rank(dict(environment, RANK_SIZE=str(job.size), RANK_ID=str(first)), job.size)
    if device_kind != "npu":
        _gpus(job, environment)
    with stop.deferred():
        meeting = Meeting([], {}) if device_kind == "npu" else meet(job, stop)
        ranks: list[_Started] = []
        node, status = job.node, 1
        pipe, held = os.pipe()
        try:
            for local in range(job.processes):
                own = _environment(job, local, meeting.workers, environment)
                ranks.append(_start_rank(command, job, local, dict(own, **{_PIPE: str(pipe)})))
            node, status = _wait(ranks, job, meeting, stop)
            return status
        except Stopped as stopped:
            status = stopped.status
            raise
        finally:
            meeting.end(node, status)
            _end(ranks)
            os.close(pipe)
            os.close(held)


def watch_launcher(environment: MutableMapping[str, str]) -> None:
    """In a rank: stop as on SIGTERM when the launcher is gone, which cannot tell when it is killed."""
    pipe = environment.pop(_PIPE, None)
    if pipe:
        threading.Thread(target=_end_with_launcher, args=(int(pipe),), daemon=True).start()


def _end_with_launcher(pipe: int) -> None:
    os.read(pipe, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_STOP_SECONDS)
    os._exit(128 + signal.SIGTERM)  # it waits for a rank that is gone


def leave(status: int) -> None:
    """End this process with a status, as the last thing that it does.

    One of several ends without taking TensorFlow's servers down: in TensorFlow 2.6 that aborts now and then, when
    others are gone already.
    """
    try:
        is_alone = len(workers_of(os.environ)[0]) < 2
    except ZooError:  # the status says it
        is_alone = True
    if not is_alone:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _environment(job: Job, local: int, workers: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Variables of a rank."""
    rank = job.node * job.processes + local
    first = 0 if workers else number_of(environment, "ASCEND_DEVICE_ID", 0)
    own = dict(environment, RANK_ID=str(rank), RANK_SIZE=str(job.size), ASCEND_DEVICE_ID=str(first + local))
    if workers:
        own.update(TF_CONFIG=json.dumps(dict(cluster=dict(worker=workers), task=dict(type="worker", index=rank))),
                   CUDA_VISIBLE_DEVICES=_gpus(job, environment)[local])
    return own


def _gpus(job: Job, environment: Mapping[str, str]) -> list[str]:
    """CUDA_VISIBLE_DEVICES of each rank here.

    Raises:
        ZooError: it lists fewer GPUs than there are ranks.
    """
    listed = environment.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return [str(number) for number in range(job.processes)]
    names = [name.strip() for name in listed.split(",")]
    if names[0] in ("", "-1"):  # GPUs are hidden
        return [listed] * job.processes
    if len(names) < job.processes:
        raise ZooError(f"CUDA_VISIBLE_DEVICES={listed}: lists {len(names)} GPUs for --nproc_per_node={job.processes}; "
                       "list one for each process, or give --device=cpu")
    return names


def _start_rank(command: Sequence[str], job: Job, local: int, environment: Mapping[str, str]) -> _Started:
    rank = job.node * job.processes + local
    words = None if rank == 0 else tempfile.TemporaryFile()  # noqa: SIM115 - closed when the process has ended
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL if words else None, stderr=words,
                               pass_fds=(int(environment[_PIPE]),))
    if "TF_CONFIG" in environment and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process.pid, _processors(local, job.processes))
    return _Started(rank, process, words)


def _processors(local: int, num: int) -> list[int]:
    """A rank's share of the processors; all of them where there are fewer than ranks."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[local::num] if len(usable) >= num else usable


def _wait(ranks: Sequence[_Started], job: Job, meeting: Meeting, stop: StopRequest) -> tuple[int, int]:
    """Wait for the ranks, or a failure here or on another machine; return the machine that failed and its status."""
    deadline = None
    elsewhere: Failure | None = None
    while True:
        is_running = any(rank.process.poll() is None for rank in ranks)
        failed = [rank for rank in ranks if rank.process.poll()]
        elsewhere = elsewhere or meeting.failure()
        if stop.requested or (elsewhere and elsewhere.status in _STOPS):
            if deadline is None:
                deadline = time.monotonic() + _STOP_SECONDS
                _terminate(ranks)
            is_over = not is_running or time.monotonic() > deadline
            if is_over:
                stop.check()
        elif failed:
            first = min(failed, key=lambda rank: rank.process.returncode > 0)  # a killed one is why others fail
            _explain(first, ranks[0])
            status = first.process.returncode
            return job.node, status if status > 0 else 128 - status
        elif elsewhere is None and not is_running:
            return job.node, 0
        else:
            is_over = True
        if elsewhere and is_over:
            return _of_another_machine(elsewhere)
        time.sleep(POLL_SECONDS)


def _of_another_machine(failure: Failure) -> tuple[int, int]:
    if failure.status in _STOPS:
        what = "was stopped: so are the ranks here"
    elif failure.status is None:
        what = f"is gone: the ranks here are stopped{_GO_ON}"
    else:
        what = f"failed with exit status {failure.status} and says why: the ranks here are stopped"
    print(f"[Error] machine {failure.node} {what}", file=sys.stderr, flush=True)
    return failure.node, failure.status or 1


def _explain(failed: _Started, first: _Started) -> None:
    """Say why a rank failed, if nobody has said it yet."""
    status = failed.process.returncode
    words = _last_words(failed) if status in _SAID else []
    if status not in _SAID or (failed.words and not words):
        advice = _GO_ON if status < 0 or status >= 128 else ""
        words = [f"[Error] rank {failed.number} {_ended(status)}: the other ranks are stopped{advice}"]
    elif words and first.number == 0:
        try:  # what is wrong for one is often wrong for all, and then rank 0 says it too
            if first.process.wait(_HELPER_PATIENCE_SECONDS) in _SAID:
                return
        except subprocess.TimeoutExpired:
            pass
    for line in words:
        print(line, file=sys.stderr, flush=True)


def _last_words(rank: _Started) -> list[str]:
    """Return a rank's last error line; the end of all that it wrote when there is none."""
    if rank.words is None:
        return []
    rank.words.seek(0)
    lines = rank.words.read().decode("utf-8", "replace").splitlines()
    return [line for line in lines if line.startswith("[Error]")][-1:] or lines[-30:]


def _ended(status: int) -> str:
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"


def _terminate(ranks: Sequence[_Started]) -> None:
    for rank in ranks:
        if rank.process.poll() is None:
            rank.process.terminate()


def _end(ranks: Sequence[_Started]) -> None:
    """Ask ranks to end, and end those that do not: one that waits for a rank that is gone hears no signal."""
    began = time.monotonic()
    _terminate(ranks)
    for rank in ranks:
        patience = _HELPER_PATIENCE_SECONDS if rank.number else _PATIENCE_SECONDS
        try:
            rank.process.wait(max(0.0, began + patience - time.monotonic()))
        except subprocess.TimeoutExpired:
            if rank.number == 0:
                print("[Error] rank 0 does not end by itself, it waits for one that is gone: it is killed",
                      file=sys.stderr, flush=True)
            rank.process.kill()
            rank.process.wait()
        if rank.words:
            rank.words.close()
