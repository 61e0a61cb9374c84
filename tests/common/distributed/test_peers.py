"""Workers of a TF_CONFIG wait for each other, say for whom, and not for ever."""
from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from common.distributed import peers, rendezvous
from common.errors import ZooError
from tests import ROOT


@pytest.mark.parametrize("num", [2, 4])
def test_workers_that_come_at_different_times_go_on_together(num):
    workers = [f"127.0.0.1:{port}" for port in rendezvous.free_ports(num)]
    ends, lines = [], []

    def work(number):
        time.sleep(0.4 * number)
        peers.wait(workers, number, 30.0, lines.append)
        ends.append(time.monotonic())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(num)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    assert len(ends) == num and max(ends) - min(ends) < 5
    with socket.socket() as free:  # TensorFlow can have the port
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", int(workers[0].rpartition(":")[2])))


def test_missing_workers_are_named_after_a_limit():
    workers = [f"127.0.0.1:{port}" for port in rendezvous.free_ports(3)]
    lines: list = []
    with pytest.raises(ZooError, match=f"rank 0: waited .* minutes for {workers[1]}, {workers[2]} of TF_CONFIG"):
        peers.wait(workers, 0, 2.5, lines.append)
    assert lines == [f"Rank 0 is waiting for {workers[1]}, {workers[2]}"]


@pytest.mark.parametrize("address", ["localhost", "localhost:x", "localhost:0", "localhost:99999"])
def test_malformed_addresses_are_refused(address):
    with pytest.raises(ZooError, match="is not an address, expected host:port"):
        peers.wait([address, "127.0.0.1:1"], 0, 1.0, print)


def test_a_port_that_is_taken_is_named():
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen(1)
        with pytest.raises(ZooError, match="this worker cannot listen there"):
            peers.wait([f"127.0.0.1:{taken.getsockname()[1]}", "127.0.0.1:1"], 0, 1.0, print)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_the_waiting(number):
    port, other = rendezvous.free_ports(2)
    script = ("import sys\nfrom common.cli import program\nfrom common.distributed import peers\n"
              f"sys.exit(program.run(lambda stop: peers.wait(['127.0.0.1:{port}', '127.0.0.1:{other}'], 0, 60.0, "
              "lambda line: print(line, flush=True))))\n")
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE)
    assert f"waiting for 127.0.0.1:{other}".encode() in process.stdout.readline()
    process.send_signal(number)
    assert process.wait(10) == 128 + number
