"""Wait for the other workers of a TF_CONFIG before TensorFlow does, which prints nothing, never gives up and ignores
signals.

Every worker listens at its own address and connects to the others. It is done once it has reached all of them and all
of them have connected: then nobody needs its answer any more, and the port is free for TensorFlow.
"""
from __future__ import annotations

import contextlib
import select
import socket
import time
from typing import Callable, Iterator

from common.errors import ZooError

_CALL_SECONDS = 0.3  # timeout of a call, and interval between calls
_NOTICE_SECONDS = 10.0


def wait(workers: list[str], number: int, seconds: float, say: Callable[[str], None]) -> None:
    """Wait until all workers have started.

    Args:
        workers: addresses of all workers, host:port.
        number: index of this worker.
        seconds: how long to wait.
        say: called with a line about the missing workers from time to time.

    Raises:
        ZooError: an address cannot be used, or workers are still missing.
    """
    missing = {index for index in range(len(workers)) if index != number}  # not reached yet
    silent = set(missing)  # have not connected yet
    began = time.monotonic()
    next_notice = began + 2.0
    with _listening(workers[number]) as server:
        while missing or silent:
            now = time.monotonic()
            absent = ", ".join(workers[index] for index in sorted(missing | silent))
            if now - began > seconds:
                raise ZooError(f"rank {number}: waited {seconds / 60:g} minutes for {absent} of TF_CONFIG; start all "
                               "workers, unset TF_CONFIG, or raise --peer_minutes")
            if now >= next_notice:
                say(f"Rank {number} is waiting for {absent}")
                next_notice = now + _NOTICE_SECONDS
            missing -= {index for index in sorted(missing) if _call(workers[index], number)}
            silent -= _answer(server)


@contextlib.contextmanager
def _listening(address: str) -> Iterator[socket.socket]:
    host, port = _split(address)
    server = socket.socket()
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("", port))
        server.listen(128)
    except OSError as error:
        server.close()
        raise ZooError(f"{host}:{port} of TF_CONFIG: this worker cannot listen there ({error.strerror}); give it "
                       "another port") from None
    with contextlib.closing(server):
        yield server


def _call(address: str, number: int) -> bool:
    """Introduce this worker to another one; return whether that answered."""
    try:
        with socket.create_connection(_split(address), _CALL_SECONDS) as connection:
            connection.settimeout(_CALL_SECONDS)
            connection.sendall(b"%d\n" % number)
            return connection.recv(3) == b"ok\n"
    except OSError:
        return False


def _answer(server: socket.socket) -> set[int]:
    """Answer the workers that connect within `_CALL_SECONDS`; return their indices."""
    callers: set[int] = set()
    deadline = time.monotonic() + _CALL_SECONDS
    while select.select([server], [], [], max(0.0, deadline - time.monotonic()))[0]:
        with contextlib.suppress(OSError, ValueError):
            connection, _ = server.accept()
            with connection:
                connection.settimeout(_CALL_SECONDS)
                caller = int(connection.recv(16))
                connection.sendall(b"ok\n")
                callers.add(caller)
    return callers


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise ZooError(f"TF_CONFIG: {address!r} is not an address, expected host:port")
    return host.strip("[]"), int(port)
