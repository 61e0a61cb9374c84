"""Where the launchers of several machines meet, and what they tell each other until they end. No TensorFlow.

The first machine's launcher listens; the others connect to it and stay connected. A message is a line of JSON:
{"nodes": 2, "node": 1, "processes": 8, "ports": [...]} to the first machine, back {"workers": ["host:port", ...]} or
{"error": text}; at its end each says {"node": 1, "status": 0}, and the first tells the others of a failure. A
connection that ends without that is a machine that is gone.
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
from common.errors import ZooError

POLL_SECONDS = 0.1
_MEET_SECONDS = 300.0  # for the launchers of other machines to come
_CONNECT_SECONDS = 2.0
_SEND_SECONDS = 10.0
_MAX_BYTES = 1 << 20  # of a message
_PORTS = range(20000, 32000)  # below those that systems give to outgoing connections


@dataclasses.dataclass(frozen=True)
class Job:
    """Processes to start.

    Attributes:
        processes: on this machine, one for each device.
        nodes: machines.
        node: number of this machine, from 0.
        address: of machine 0.
        port: of machine 0, where the launchers meet; not used on one machine.
    """

    processes: int
    nodes: int = 1
    node: int = 0
    address: str = "127.0.0.1"
    port: int = 29500

    @property
    def size(self) -> int:
        """Processes on all machines."""
        return self.processes * self.nodes


@dataclasses.dataclass(frozen=True)
class Failure:
    """Another machine failed.

    Attributes:
        node: its number.
        status: its exit status; None when it is gone without a word.
    """

    node: int
    status: int | None


class _Peer:
    """A connection whose messages are read without waiting for them."""

    def __init__(self, connection: socket.socket, host: str):
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):  # else a machine that falls silent is noticed after hours
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self.host = host
        self.is_open = True
        self._connection = connection
        self._received = b""

    def read(self) -> dict[str, Any] | None:
        """Return the next message, None while there is none. Closes a connection that brings anything else."""
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
        """Send a message; a peer that does not take it is closed."""
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
    """The machines of a job, as the launcher of one sees them.

    Attributes:
        workers: addresses "host:port" of all ranks, in their order.
    """

    def __init__(self, workers: Sequence[str], peers: dict[int, _Peer]):
        self.workers = list(workers)
        self._peers = peers

    def failure(self) -> Failure | None:
        """Look whether another machine has failed; one that ended well is forgotten."""
        for node, peer in list(self._peers.items()):
            message = peer.read()
            if message is None and peer.is_open:
                continue
            del self._peers[node]
            peer.close()
            if message is None:
                return Failure(node, None)
            if message.get("status") != 0:
                return Failure(_number(message, "node", node), _number(message, "status", 1))
        return None

    def end(self, node: int, status: int) -> None:
        """Tell the other machines how one of them ended, this or one that has told it, and part from them."""
        for peer in self._peers.values():
            peer.send(dict(node=node, status=status))
            peer.close()
        self._peers.clear()


def meet(job: Job, stop: StopRequest) -> Meeting:
    """Find free ports for the ranks of this machine, and learn those of the others.

    Raises:
        ZooError: the machines do not find each other, or do not fit together.
    """
    ports = free_ports(job.processes)
    if job.nodes == 1:
        return Meeting([f"127.0.0.1:{port}" for port in ports], {})
    deadline = time.monotonic() + _MEET_SECONDS
    return _meet_as_first(job, ports, deadline, stop) if job.node == 0 else _meet_as_other(job, ports, deadline, stop)


def free_ports(num: int) -> list[int]:
    """Choose ports that nobody listens on, where no outgoing connection takes them before the ranks do."""
    found: list[int] = []
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        if len(found) == num:
            break
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("", port))
            found.append(port)
    return found


def _meet_as_first(job: Job, ports: list[int], deadline: float, stop: StopRequest) -> Meeting:
    arrived: list[_Peer] = []
    cards: dict[int, dict[str, Any]] = {}  # by machine
    peers: dict[int, _Peer] = {}
    try:
        with _listening(job.port) as server:
            while len(peers) < job.nodes - 1:
                stop.check()
                if time.monotonic() > deadline:
                    raise ZooError(f"--nnode={job.nodes}: after {_MEET_SECONDS:.0f} s only machines "
                                   f"{sorted([0, *peers])} are there; start the others with "
                                   f"--master_addr={job.address} --master_port={job.port}")
                with contextlib.suppress(OSError):  # nobody came within the server's timeout
                    connection, (host, *_) = server.accept()
                    arrived.append(_Peer(connection, host))
                for peer in arrived:
                    _hear(peer, job, peers, cards)
                arrived = [peer for peer in arrived if peer.is_open]
                peers = {node: peer for node, peer in peers.items() if peer.is_open}  # another may come in its place
        workers = [f"{job.address}:{port}" for port in ports]
        for node in range(1, job.nodes):
            workers += [f"{peers[node].host}:{port}" for port in cards[node]["ports"]]
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
        for peer in arrived:
            if peer not in peers.values():
                peer.close()


def _hear(peer: _Peer, job: Job, peers: dict[int, _Peer], cards: dict[int, dict[str, Any]]) -> None:
    """Let one that came introduce itself; what is no launcher, such as a probe of the port, is sent away."""
    card = peer.read()
    if card is None:
        return
    if not _is_card(card) or peer in peers.values():
        peer.close()
        return
    node = card["node"]
    is_there = node in peers and peers[node].is_open
    if (card["nodes"], card["processes"]) != (job.nodes, job.processes) or not 0 < node < job.nodes or is_there:
        text = (f"{peer.host}: came as --node_rank={node} with --nnode={card['nodes']} --nproc_per_node="
                f"{card['processes']}; expected another machine with {job.nodes} and {job.processes}")
        peer.send(dict(error=text))
        raise ZooError(text)
    peers[node], cards[node] = peer, card


def _listening(port: int) -> socket.socket:
    server = socket.socket()
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("", port))
        server.listen(128)
        server.settimeout(POLL_SECONDS)
    except OSError as error:
        server.close()
        raise ZooError(f"--master_port={port}: cannot be used ({error.strerror}); give another one") from None
    return server


def _is_card(message: dict[str, Any]) -> bool:
    """Whether a message is that of a launcher which introduces itself."""
    numbers = [message.get(name) for name in ("nodes", "node", "processes")]
    ports = message.get("ports")
    return all(_is_number(value) for value in numbers) and isinstance(ports, list) and all(
        _is_number(port) and 0 < port < 65536 for port in ports) and len(ports) == message["processes"]


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
                raise ZooError(f"{where}: the other side ended the connection; if machine 0's launcher runs there, see "
                               "what it says")
            if time.monotonic() > deadline + _SEND_SECONDS:  # machine 0's own deadline comes first
                raise ZooError(f"{where}: no answer within {_MEET_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)
        if "error" in message:
            raise ZooError(f"machine 0 says: {message['error']}")
        workers = message.get("workers")
        if not isinstance(workers, list) or [type(worker) for worker in workers] != [str] * job.size:
            raise ZooError(f"{where}: what answers there is not machine 0's launcher")
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


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(message: dict[str, Any], name: str, default: int) -> int:
    return message[name] if _is_number(message.get(name)) else default
