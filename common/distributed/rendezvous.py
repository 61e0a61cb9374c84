"""Connections between the launchers of several machines.

The launcher of machine 0 listens; the others connect to it and stay connected. A message is a line of JSON. Each
machine introduces itself, {"nodes": 2, "node": 1, "processes": 8, "ports": [...]}, and machine 0 answers
{"workers": ["host:port", ...]} or {"error": text}. At its end each machine sends {"node": 1, "status": 0}; machine 0
forwards failures to the others. A connection that ends without this message means that the machine is lost.
"""
from __future__ import annotations

import contextlib
import dataclasses
import json
import random
import socket
import time
from typing import Any, Sequence

from common.cli.program import StopRequest
from common.distributed.processes import Job
from common.errors import ZooError

POLL_SECONDS = 0.1
_MEET_SECONDS = 300.0  # for the launchers of all machines to connect
_CONNECT_SECONDS = 2.0
_SEND_SECONDS = 10.0
_MAX_BYTES = 1 << 20  # of a message
_PORTS = range(20000, 32000)  # below the ports that systems use for outgoing connections


@dataclasses.dataclass(frozen=True)
class Failure:
    """Failure of another machine.

    Attributes:
        node: index of the machine.
        status: its exit status; None if the connection was lost.
    """

    node: int
    status: int | None


class _Peer:
    """A connection whose messages are read without blocking."""

    def __init__(self, connection: socket.socket, host: str):
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):  # otherwise a silent machine is noticed only after hours
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self.host = host
        self.is_open = True
        self._connection = connection
        self._received = b""

    def read(self) -> dict[str, Any] | None:
        """Return the next message, None if there is none yet. Anything but a message closes the connection."""
        try:
            while b"\n" not in self._received and len(self._received) <= _MAX_BYTES:
                data = self._connection.recv(65536)
                if not data:
                    self.close()
                    return None
                self._received += data
        except BlockingIOError:
            return None
        except OSError:
            self.close()
            return None
        line, _, self._received = self._received.partition(b"\n")
        try:
            message = json.loads(line) if len(line) <= _MAX_BYTES else None
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            self.close()
            return None
        return message

    def send(self, message: dict[str, Any]) -> None:
        """Send a message; if that fails, close the connection."""
        try:
            self._connection.settimeout(_SEND_SECONDS)
            self._connection.sendall(json.dumps(message).encode("ascii") + b"\n")
            self._connection.setblocking(False)
        except OSError:
            self.close()

    def close(self) -> None:
        """Close the connection."""
        self.is_open = False
        self._connection.close()


class Meeting:
    """The other machines of a job, as the launcher of one machine sees them.

    Attributes:
        workers: addresses "host:port" of all ranks, in order.
    """

    def __init__(self, workers: Sequence[str], peers: dict[int, _Peer]):
        self.workers = list(workers)
        self._peers = peers

    def failure(self) -> Failure | None:
        """Return the failure of another machine, if there is one."""
        for node, peer in list(self._peers.items()):
            message = peer.read()
            if message is None and peer.is_open:
                continue
            del self._peers[node]
            peer.close()
            if message is None:
                return Failure(node, None)
            if message.get("status") != 0:
                return Failure(_integer(message, "node", node), _integer(message, "status", 1))
        return None

    def end(self, node: int, status: int) -> None:
        """Tell the other machines how a machine has ended, and close the connections."""
        for peer in self._peers.values():
            peer.send(dict(node=node, status=status))
            peer.close()
        self._peers.clear()


def meet(job: Job, stop: StopRequest) -> Meeting:
    """Choose ports for the ranks of this machine, and exchange addresses with the other machines.

    Raises:
        ZooError: the machines cannot connect, or were started with different flags.
    """
    ports = free_ports(job.processes)
    if job.nodes == 1:
        return Meeting([f"127.0.0.1:{port}" for port in ports], {})
    deadline = time.monotonic() + _MEET_SECONDS
    return _meet_as_first(job, ports, deadline, stop) if job.node == 0 else _meet_as_other(job, ports, deadline, stop)


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


def _meet_as_first(job: Job, ports: list[int], deadline: float, stop: StopRequest) -> Meeting:
    connected: list[_Peer] = []
    introductions: dict[int, dict[str, Any]] = {}  # by machine
    peers: dict[int, _Peer] = {}
    try:
        with _listen(job.port) as server:
            while len(peers) < job.nodes - 1:
                stop.check()
                if time.monotonic() > deadline:
                    raise ZooError(f"--nnode={job.nodes}: after {_MEET_SECONDS:.0f} s only machines "
                                   f"{sorted([0, *peers])} have connected; start the others with "
                                   f"--master_addr={job.address} --master_port={job.port}")
                with contextlib.suppress(OSError):  # no connection within the timeout of the server
                    connection, (host, *_) = server.accept()
                    connected.append(_Peer(connection, host))
                for peer in connected:
                    _read_introduction(peer, job, peers, introductions)
                connected = [peer for peer in connected if peer.is_open]
                peers = {node: peer for node, peer in peers.items() if peer.is_open}  # a lost machine may reconnect
        workers = [f"{job.address}:{port}" for port in ports]
        for node in range(1, job.nodes):
            workers += [f"{peers[node].host}:{port}" for port in introductions[node]["ports"]]
        for peer in peers.values():
            peer.send(dict(workers=workers))
        return Meeting(workers, peers)
    except BaseException as error:
        for peer in peers.values():
            if isinstance(error, ZooError):
                peer.send(dict(error=str(error)))
            peer.close()
        raise
    finally:
        for peer in connected:
            if peer not in peers.values():
                peer.close()


def _read_introduction(peer: _Peer, job: Job, peers: dict[int, _Peer], introductions: dict[int, dict[str, Any]]
                       ) -> None:
    """Register a peer that introduces itself, and close the connection to anything else, such as a port scanner."""
    message = peer.read()
    if message is None:
        return
    if not _is_introduction(message) or peer in peers.values():
        peer.close()
        return
    node = message["node"]
    is_taken = node in peers and peers[node].is_open
    if (message["nodes"], message["processes"]) != (job.nodes, job.processes) or not 0 < node < job.nodes or is_taken:
        text = (f"{peer.host}: connected as --node_rank={node} with --nnode={message['nodes']} --nproc_per_node="
                f"{message['processes']}; expected another machine with {job.nodes} and {job.processes}")
        peer.send(dict(error=text))
        raise ZooError(text)
    peers[node], introductions[node] = peer, message


def _listen(port: int) -> socket.socket:
    server = socket.socket()
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("", port))
        server.listen(128)
        server.settimeout(POLL_SECONDS)
    except OSError as error:
        server.close()
        raise ZooError(f"--master_port={port}: cannot be used ({error.strerror}); choose another one") from None
    return server


def _is_introduction(message: dict[str, Any]) -> bool:
    ports = message.get("ports")
    return all(_is_integer(message.get(name)) for name in ("nodes", "node", "processes")) and isinstance(
        ports, list) and len(ports) == message["processes"] and all(
            _is_integer(port) and 0 < port < 65536 for port in ports)


def _meet_as_other(job: Job, ports: list[int], deadline: float, stop: StopRequest) -> Meeting:
    where = f"--master_addr={job.address} --master_port={job.port}"
    peer = _connect(job, where, deadline, stop)
    try:
        peer.send(dict(node=job.node, nodes=job.nodes, processes=job.processes, ports=ports))
        message = None
        while message is None:
            stop.check()
            message = peer.read()
            if message is None and not peer.is_open:
                raise ZooError(f"{where}: the other side closed the connection; if it is machine 0's launcher, see its "
                               "output")
            if time.monotonic() > deadline + _SEND_SECONDS:  # machine 0 gives up first
                raise ZooError(f"{where}: no answer within {_MEET_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)
        if "error" in message:
            raise ZooError(f"machine 0 reports: {message['error']}")
        workers = message.get("workers")
        if not isinstance(workers, list) or [type(worker) for worker in workers] != [str] * job.size:
            raise ZooError(f"{where}: the answer is not from the launcher of machine 0")
        return Meeting(workers, {0: peer})
    except BaseException:
        peer.close()
        raise


def _connect(job: Job, where: str, deadline: float, stop: StopRequest) -> _Peer:
    while True:
        stop.check()
        try:
            connection = socket.create_connection((job.address, job.port), timeout=_CONNECT_SECONDS)
            return _Peer(connection, job.address)
        except OSError as error:
            if time.monotonic() > deadline:
                raise ZooError(f"{where}: no answer ({error})") from None
            time.sleep(POLL_SECONDS)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _integer(message: dict[str, Any], name: str, default: int) -> int:
    return message[name] if _is_integer(message.get(name)) else default
