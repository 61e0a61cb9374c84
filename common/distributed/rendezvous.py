"""The start of a job: all ranks meet at the address of rank 0, and each learns the addresses of all.

They meet before TensorFlow connects them, because TensorFlow waits silently, without a limit, and ignores signals. A
rank that fails later is noticed by TensorFlow.

Rank 0 serves HTTP. The others post {"rank": 1, "size": 2, "address": "host:port", "token": ...} again and again, until
the answer is {"workers": ["host:port", ...]}, or {"error": text} when they do not belong together.
"""
from __future__ import annotations

import contextlib
import functools
import http.client
import http.server
import json
import math
import random
import socket
import socketserver
import time
from typing import Any, Callable, Sequence

from common.devices.selection import Rank
from common.errors import LostRank, ZooError

_POST_SECONDS = 0.3  # between two posts of a rank
_SILENT_SECONDS = 3.0  # a rank that has not posted for so long is gone
_NOTICE_SECONDS = 10.0
_MAX_BYTES = 1 << 16  # of a post
_PORTS = range(20000, 32000)  # below the ports that systems use for outgoing connections


def exchange(rank: Rank, addresses: Sequence[str], seconds: float,
             say: Callable[[str], None] = functools.partial(print, flush=True)) -> list[str]:
    """Wait until all ranks have started; return their addresses.

    Args:
        rank: of this process.
        addresses: "host:port" of each rank, "" where it is not known. Rank 0 listens at its own, which is free again
            afterwards; a rank without an address chooses a port.
        seconds: how long to wait.
        say: called with a line about the missing ranks from time to time.

    Raises:
        ZooError: an address is malformed or in use, or ranks do not belong together.
        LostRank: some are still missing.
    """
    for address in filter(None, addresses):
        split_address(address)
    began = time.monotonic()
    next_notice = began + 2.0
    with _Chief(rank, addresses) if rank.is_chief else _Other(rank, addresses) as meeting:
        while not meeting.is_complete():
            now = time.monotonic()
            if now - began > seconds:
                raise LostRank(f"rank {rank.number}: waited {seconds / 60:g} minutes for {meeting.missing()}; start "
                               "all ranks, or raise --peer_minutes")
            if now >= next_notice:
                say(f"Rank {rank.number} is waiting for {meeting.missing()}")
                next_notice = now + _NOTICE_SECONDS
        return meeting.workers


class _Chief(socketserver.TCPServer):  # HTTPServer looks up its name, which takes long without DNS
    """Rank 0."""

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, rank: Rank, addresses: Sequence[str]):
        try:
            super().__init__(("", split_address(addresses[0])[1]), _Post)
        except OSError as error:
            raise ZooError(f"{addresses[0]}: rank 0 cannot listen there ({error.strerror}); choose another port, with "
                           "--master_port or in TF_CONFIG") from None
        self.timeout = _POST_SECONDS
        self.workers = list(addresses)
        self._rank = rank
        self._posts: dict[int, tuple[str, float]] = {}  # token and time of the last one
        self._told: set[int] = set()
        self._error: tuple[str, float] | None = None

    def is_complete(self) -> bool:
        """Serve for a moment; return whether all ranks know all addresses."""
        self.handle_request()
        if self._error and time.monotonic() > self._error[1] + _SILENT_SECONDS:  # all have heard of it
            raise ZooError(self._error[0])
        return len(self._told) == self._rank.size - 1

    def missing(self) -> str:
        """Name the ranks that are not there."""
        numbers = self._absent() or sorted(set(range(1, self._rank.size)) - self._told)
        return ", ".join(self.workers[number] or f"rank {number}" for number in numbers)

    def answer(self, post: dict[str, Any], host: str) -> dict[str, Any]:
        """Answer the post of another rank."""
        number, size, address, token = int(post["rank"]), int(post["size"]), str(post["address"]), post["token"]
        if size != self._rank.size or not 0 < number < size:
            text = f"{host} started rank {number} of {size}, which does not belong to a job of {self._rank.size} ranks"
            self._error = self._error or (text, time.monotonic())
        if self._error:
            return dict(error=self._error[0])
        if number not in self._absent() and self._posts[number][0] != token:
            return dict(error=f"another process is rank {number} already")
        self._posts[number] = token, time.monotonic()
        self.workers[number] = host + address if address.startswith(":") else address
        if self._absent() and not self._told:
            return {}
        self._told.add(number)
        return dict(workers=self.workers)

    def _absent(self) -> list[int]:
        oldest = time.monotonic() - _SILENT_SECONDS
        return [number for number in range(1, self._rank.size) if self._posts.get(number, ("", -math.inf))[1] < oldest]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore what is not a rank, such as a port scanner."""


class _Post(http.server.BaseHTTPRequestHandler):
    timeout = 2.0  # seconds for a post to arrive

    def do_POST(self) -> None:  # noqa: N802 - the name is that of the base class
        """Answer a rank."""
        length = min(max(0, int(self.headers["Content-Length"])), _MAX_BYTES)
        post = json.loads(self.rfile.read(length))
        body = json.dumps(self.server.answer(post, self.client_address[0])).encode("ascii")  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


class _Other:
    """A rank other than 0."""

    def __init__(self, rank: Rank, addresses: Sequence[str]):
        self.workers: list[str] = []
        self._chief = addresses[0]
        self._is_connected = False
        own = addresses[rank.number] or f":{free_ports(1)[0]}"
        token = random.SystemRandom().getrandbits(64)
        self._post = json.dumps(dict(rank=rank.number, size=rank.size, address=own, token=token))

    def __enter__(self) -> _Other:
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def is_complete(self) -> bool:
        """Ask rank 0; return whether it has answered with the addresses."""
        answer = {}
        connection = http.client.HTTPConnection(*split_address(self._chief), timeout=2.0)
        with contextlib.closing(connection), contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            connection.request("POST", "/", self._post)
            answer = json.loads(connection.getresponse().read(_MAX_BYTES << 8))
            self._is_connected = True
        if "error" in answer:
            raise ZooError(f"rank 0 reports: {answer['error']}")
        self.workers = answer.get("workers", [])
        if not self.workers:
            time.sleep(_POST_SECONDS)
        return bool(self.workers)

    def missing(self) -> str:
        """Name the ranks that are not there, as far as this one knows."""
        return "other ranks" if self._is_connected else f"rank 0 at {self._chief}"


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
