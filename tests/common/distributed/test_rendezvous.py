"""Launchers of several machines meet and part; here they are threads and processes of one machine."""
from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from common.cli.program import Stopped, StopRequest
from common.distributed import rendezvous
from common.distributed.processes import Job
from common.errors import ZooError
from tests import ROOT

LAUNCH = """
import os, sys
from common.cli import program
from common.distributed import launcher
from common.distributed.processes import Job
words, job = [sys.executable, "-c", sys.argv[1]], Job(*map(int, sys.argv[2:5]), "127.0.0.1", int(sys.argv[5]))
sys.exit(program.run(lambda stop: launcher.start(words, job, "cpu", os.environ, stop)))
"""


@pytest.fixture
def port():
    return rendezvous.free_ports(1)[0]


def in_threads(*jobs, stops=()):
    """Let launchers meet; return what each got, a Meeting or an error."""
    found = [None] * len(jobs)

    def meet(number):
        try:
            found[number] = rendezvous.meet(jobs[number], stops[number] if stops else StopRequest())
        except (ZooError, Stopped) as error:
            found[number] = error

    threads = [threading.Thread(target=meet, args=(number,)) for number in range(len(jobs))]
    for thread in threads:
        thread.start()
    return found, threads


def finish(threads):
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def jobs_of(num, port, processes=2):
    return [Job(processes, num, node, "127.0.0.1", port) for node in range(num)]


def connect(port, content=b""):
    deadline = time.monotonic() + 10
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port), timeout=10)
            connection.sendall(content)
            return connection
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_machines_learn_the_addresses_of_all_ranks(port):
    found, threads = in_threads(*reversed(jobs_of(3, port)))
    finish(threads)
    workers = found[0].workers
    assert found[1].workers == workers == found[2].workers and len(set(workers)) == 6
    assert all(address.startswith("127.0.0.1:") for address in workers)


def test_ports_are_below_those_of_outgoing_connections():
    ports = rendezvous.free_ports(50)
    assert len(set(ports)) == 50 and min(ports) > 1024 and max(ports) < 32768


def test_a_machine_that_does_not_fit_is_named_on_both(port):
    found, threads = in_threads(Job(3, 2, 1, "127.0.0.1", port), Job(2, 2, 0, "127.0.0.1", port))
    finish(threads)
    assert "--nproc_per_node=3; expected another machine with 2 and 2" in str(found[1])
    assert str(found[0]) == f"machine 0 reports: {found[1]}"


@pytest.mark.parametrize("content", [
    b"GET / HTTP/1.1\r\n\r\n", b"[1]\n", b"7\n", b"\xff\xfe\n", b"{}\n", b"[" * 5000 + b"\n", b"x" * (3 << 20),
    b'{"nodes": 2, "node": [1], "processes": 2, "ports": [1, 2]}\n',
    b'{"nodes": 2, "node": 1, "processes": 2, "ports": [1]}\n',
    b'{"nodes": 2, "node": 1, "processes": 2, "ports": [1, "2"]}\n',
])
def test_connections_of_other_programs_are_closed(port, content):
    first, second = jobs_of(2, port)
    found, threads = in_threads(first)
    with contextlib.suppress(ConnectionError), connect(port, content) as probe:
        assert probe.recv(10) == b""
    others, more = in_threads(second)
    finish([*threads, *more])
    assert found[0].workers == others[0].workers


def test_silent_and_broken_connections_do_no_harm(port):
    first, *others = jobs_of(3, port)
    found, threads = in_threads(first)
    silent = connect(port)
    connect(port, b'{"nodes": 3, "node": 1, "processes": 2, "ports": [5, 6]}\n').close()  # of a launcher that ended
    found_by_others, more = in_threads(*others)
    finish([*threads, *more])
    silent.close()
    assert found[0].workers == found_by_others[0].workers and "127.0.0.1:5" not in found[0].workers


@pytest.mark.parametrize("node", [0, 1])
def test_a_stop_is_heard_while_waiting(port, node):
    stop = StopRequest()
    with contextlib.ExitStack() as stack:
        if node == 1:  # one that accepts and says nothing
            server = stack.enter_context(socket.socket())
            server.bind(("127.0.0.1", port))
            server.listen(5)
        found, threads = in_threads(jobs_of(2, port)[node], stops=[stop])
        if node == 0:
            stack.enter_context(connect(port))
        time.sleep(0.3)
        began = time.monotonic()
        with pytest.raises(Stopped), stop.deferred():
            stop.handle(signal.SIGTERM, None)
            finish(threads)
        assert time.monotonic() - began < 5
    assert isinstance(found[0], Stopped)


def test_a_port_that_is_taken(port):
    with socket.socket() as taken:
        taken.bind(("", port))
        taken.listen(1)
        with pytest.raises(ZooError, match=f"--master_port={port}: cannot be used \\(Address already in use\\)"):
            rendezvous.meet(jobs_of(2, port)[0], StopRequest())


def answer(port, content):
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", port))
        server.listen(1)
        found, threads = in_threads(jobs_of(2, port)[1])
        connection = server.accept()[0]
        with connection:
            connection.recv(1000)
            connection.sendall(content)
        finish(threads)
    return str(found[0])


@pytest.mark.parametrize("content, message", [
    (b"", "the other side closed the connection"),
    (b"SSH-2.0-OpenSSH\n", "the other side closed the connection"),
    (b'{"workers": ["a:1"]}\n', "the answer is not from the launcher of machine 0"),
])
def test_something_else_answers(port, content, message):
    assert message in answer(port, content)


def test_how_machines_end(port):
    found, threads = in_threads(*jobs_of(4, port, 1))
    finish(threads)
    assert [one.failure() for one in found] == [None] * 4
    found[1].end(1, 0)
    found[2].end(2, 3)
    assert wait_for(found[0]) == rendezvous.Failure(2, 3)
    found[0].end(2, 3)
    assert wait_for(found[3]) == rendezvous.Failure(2, 3) and found[1].failure() is None


def wait_for(one):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        failure = one.failure()
        if failure:
            return failure
        time.sleep(0.02)
    return None


def launcher(script, node, port, nodes=2):
    return subprocess.Popen([sys.executable, "-c", LAUNCH, script, "1", str(nodes), str(node), str(port)],
                            env=dict(os.environ, PYTHONPATH=ROOT), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)


def ends(process, seconds=10):
    began = time.monotonic()
    error = process.communicate(timeout=60)[1].decode().splitlines()
    assert time.monotonic() - began < seconds
    return process.returncode, error


@pytest.mark.parametrize("failing, ending, statuses, lines", [
    (1, "print('[Error] bad', file=sys.stderr); sys.exit(1)", [1, 1],
     ["[Error] machine 1 failed with exit status 1, see its output: stopping the ranks here", "[Error] bad"]),
    (0, "print('[Error] bad', file=sys.stderr); sys.exit(2)", [2, 2],
     ["[Error] bad", "[Error] machine 0 failed with exit status 2, see its output: stopping the ranks here"]),
    (1, "os.kill(os.getppid(), 9); time.sleep(9)", [1, -9],
     ["[Error] machine 1 is lost: stopping the ranks here; the same command resumes from the last checkpoint"]),
    (1, "os.kill(os.getppid(), 15); time.sleep(9)", [143, 143],
     ["[Error] machine 1 was stopped: stopping the ranks here", "Stopped by SIGTERM."]),
])
def test_the_end_of_one_machine_is_that_of_all(port, failing, ending, statuses, lines):
    script = (f"import os, sys, time\nif os.environ['RANK_ID'] == '{failing}':\n    time.sleep(0.3); {ending}\n"
              "time.sleep(30)")
    processes = [launcher(script, node, port) for node in (0, 1)]
    results = [ends(process) for process in processes]
    assert [status for status, _ in results] == statuses
    assert [line for _, error in results for line in error] == lines


def test_the_first_machine_tells_the_others(port):
    script = "import os, sys, time\nif os.environ['RANK_ID'] == '2': sys.exit(1)\ntime.sleep(30)"
    processes = [launcher(script, node, port, 3) for node in range(3)]
    results = [ends(process) for process in processes]
    line = "[Error] machine 2 failed with exit status 1, see its output: stopping the ranks here"
    assert [status for status, _ in results] == [1, 1, 1] and [error for _, error in results[:2]] == [[line], [line]]


def test_machines_that_end_well_need_not_end_together(port, tmp_path):
    script = (f"import os, time\nrank = os.environ['RANK_ID']\ntime.sleep(float(rank))\n"
              f"open(os.path.join({str(tmp_path)!r}, rank), 'w')")
    processes = [launcher(script, node, port) for node in (0, 1)]
    assert [ends(process) for process in processes] == [(0, []), (0, [])]
    assert sorted(os.listdir(str(tmp_path))) == ["0", "1"]
