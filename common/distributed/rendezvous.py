"""The start of a job: all ranks meet at the address of rank 0, and each learns the addresses of all.

They meet before TensorFlow connects them, because TensorFlow waits silently, without a limit, and ignores signals. A
rank sends rank 0 its number and that of all. The answer, in JSON, is the addresses when all are there, or a complaint.
"""
from __future__ import annotations

import contextlib
import json
import socket
import time
from multiprocessing.connection import wait
from typing import Any, Generator, Iterable, Sequence

from common.devices.selection import Rank
from common.errors import LostRank, ZooError

_TURN_SECONDS = 0.3
_NETWORK_SECONDS = 2.0  # for a connection, and for what is sent through it
_NOTICE_SECONDS = 10.0


def exchange(rank: Rank, addresses: Sequence[str], seconds: float) -> list[str]:
    """Wait until all ranks have started, and print from time to time for whom; return the addresses of all.

    Args:
        rank: of this process.
        addresses: "host:port" of each rank. Rank 0 listens at its own, which is free again afterwards. "" if unknown:
            then the port of rank N is that of rank 0 plus N.
        seconds: how long to wait.

    Raises:
        ZooError: rank 0 cannot listen, or ranks do not belong together; LostRank: some are still missing.
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
