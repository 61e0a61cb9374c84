"""The start of a job: all ranks meet at the address of rank 0, and each learns the addresses of all.

They meet before TensorFlow connects them, because TensorFlow waits silently, without a limit, and ignores signals. A
rank that fails later is noticed by TensorFlow.

Every other rank connects to rank 0 and sends [rank, number of ranks, "host:port"] in JSON. When all are connected, they
receive the addresses, ["host:port", ...]; those that do not belong together receive a text.
"""
from __future__ import annotations

import contextlib
import json
import random
import socket
import time
from multiprocessing.connection import wait
from typing import Any, Callable, Sequence

from common.devices.selection import Rank
from common.errors import LostRank, ZooError

_TURN_SECONDS = 0.3
_NETWORK_SECONDS = 2.0  # for a connection, and for what is sent through it
_NOTICE_SECONDS = 10.0
_PORTS = range(20000, 32000)  # below the ports that systems use for outgoing connections


def exchange(rank: Rank, addresses: Sequence[str], seconds: float) -> list[str]:
    """Wait until all ranks have started, and print from time to time for whom; return their addresses.

    Args:
        rank: of this process.
        addresses: "host:port" of each rank, "" where it is not known. Rank 0 listens at its own, which is free again
            afterwards; a rank without an address chooses a port.
        seconds: how long to wait.

    Raises:
        ZooError: an address is malformed or in use, or ranks do not belong together.
        LostRank: some are still missing.
    """
    for address in filter(None, addresses):
        split_address(address)
    deadline, next_notice = time.monotonic() + seconds, time.monotonic() + _NETWORK_SECONDS

    def wait_for(missing: str) -> None:
        nonlocal next_notice
        now = time.monotonic()
        if now > deadline:
            raise LostRank(f"rank {rank.number}: waited {seconds / 60:g} minutes for {missing}; start all ranks, or "
                           "raise --peer_minutes")
        if now > next_notice:
            print(f"Rank {rank.number} is waiting for {missing}", flush=True)
            next_notice = now + _NOTICE_SECONDS

    return (_lead if rank.is_chief else _join)(rank, addresses, wait_for)


def _lead(rank: Rank, addresses: Sequence[str], wait_for: Callable[[str], None]) -> list[str]:
    """As rank 0, wait until all others are connected, and answer them."""
    workers = list(addresses)
    connected: dict[Any, int] = {}  # ranks
    with _listening(addresses[0]) as server:
        while len(connected) < rank.size - 1:
            missing = sorted(set(range(1, rank.size)) - set(connected.values()))
            wait_for(", ".join(workers[number] or f"rank {number}" for number in missing))
            for ready in wait([server, *connected], _TURN_SECONDS):
                if ready is not server:  # a rank sends nothing else, so this one has ended
                    del connected[ready]
                    continue
                connection, (host, _) = server.accept()
                number, size, address = _hello(connection)
                if size and (size != rank.size or not 0 < number < size):
                    text = (f"{host} started rank {number} of {size}, which does not belong to a job of {rank.size} "
                            "ranks")
                    for other in (connection, *connected):
                        _answer(other, text)
                    raise ZooError(text)
                if number in connected.values():
                    _answer(connection, f"another process is rank {number} already")
                elif size:
                    connected[connection] = number
                    workers[number] = host + address if address.startswith(":") else address
                else:
                    connection.close()
    for connection in connected:
        _answer(connection, workers)
    return workers


def _listening(address: str) -> socket.socket:
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind(("", split_address(address)[1]))
    except OSError as error:
        server.close()
        raise ZooError(f"{address}: rank 0 cannot listen there ({error.strerror}); choose another port, with "
                       "--master_port or in TF_CONFIG") from None
    server.listen(128)
    return server


def _hello(connection: socket.socket) -> tuple[int, int, str]:
    """Return what a rank has sent; zeros if it is something else, such as a port scanner."""
    connection.settimeout(_NETWORK_SECONDS)
    with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):
        number, size, address = json.loads(connection.recv(1 << 16))
        if (type(number), type(size), type(address)) == (int, int, str):
            return number, size, address
    return 0, 0, ""


def _answer(connection: socket.socket, answer: str | list[str]) -> None:
    with connection, contextlib.suppress(OSError):  # it may have ended
        connection.sendall(json.dumps(answer).encode("ascii"))


def _join(rank: Rank, addresses: Sequence[str], wait_for: Callable[[str], None]) -> list[str]:
    """As another rank, connect to rank 0 and wait for its answer."""
    own = addresses[rank.number] or f":{free_ports(1)[0]}"
    while True:
        answer = None
        with contextlib.suppress(OSError, ValueError), \
                socket.create_connection(split_address(addresses[0]), _NETWORK_SECONDS) as connection:
            connection.sendall(json.dumps([rank.number, rank.size, own]).encode("ascii"))
            while not wait([connection], _TURN_SECONDS):
                wait_for("other ranks")
            answer = json.loads(connection.makefile("rb").read())
        if isinstance(answer, str):
            raise ZooError(f"rank 0 reports: {answer}")
        if answer:
            return answer
        wait_for(f"rank 0 at {addresses[0]}")
        time.sleep(_TURN_SECONDS)


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


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of "host:port".

    Raises:
        ZooError: it is malformed.
    """
    host, _, port = address.rpartition(":")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise ZooError(f"{address!r} is not an address, expected host:port")
    return host.strip("[]"), int(port)
