"""Ranks meet before TensorFlow connects them, say for whom they wait, and not for ever."""
from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from common.devices.selection import Rank
from common.distributed import launcher, processes
from common.errors import ZooError
from tests import ROOT


@pytest.fixture
def chief():
    """The address of rank 0."""
    return f"127.0.0.1:{launcher.free_ports(1)[0]}"


def meet(*calls, delays=()):
    """Call `exchange` in a thread each; return what each gave, or its error."""
    results = [None] * len(calls)

    def call(number):
        time.sleep(delays[number] if delays else 0.0)
        try:
            results[number] = processes.exchange(*calls[number])
        except ZooError as error:
            results[number] = error

    threads = [threading.Thread(target=call, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
        assert not thread.is_alive()
    return results


def test_addresses_that_are_not_known_are_exchanged(chief):
    """The last one to come is rank 0."""
    results = meet(*[(Rank(number, 4), [chief, "", "", ""], 30.0) for number in range(4)], delays=(1.2, 0.0, 0.6, 0.3))
    port = int(chief.split(":")[1])
    assert results == [[f"127.0.0.1:{port + number}" for number in range(4)]] * 4
    with socket.socket() as free:  # TensorFlow can have the port
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", port))


def test_addresses_of_a_tf_config_are_kept(chief):
    workers = [chief, "10.0.0.1:70", "10.0.0.2:70"]
    assert meet(*[(Rank(number, 3), workers, 30.0) for number in range(3)]) == [workers] * 3


def test_missing_ranks_are_named_after_a_limit(chief, capfd):
    with pytest.raises(ZooError, match="rank 0: waited .* minutes for 10.0.0.1:70, rank 2; start all ranks, or raise"):
        processes.exchange(Rank(0, 3), [chief, "10.0.0.1:70", ""], 2.5)
    assert capfd.readouterr().out == "Rank 0 is waiting for 10.0.0.1:70, rank 2\n"
    with pytest.raises(ZooError, match=f"rank 1: waited .* minutes for rank 0 at {chief}"):
        processes.exchange(Rank(1, 2), [chief, ""], 0.5)


def test_ranks_of_different_jobs_are_refused_everywhere(chief):
    results = meet((Rank(0, 3), [chief, "", ""], 30.0), (Rank(1, 3), [chief, "", ""], 30.0),
                   (Rank(1, 2), [chief, ""], 30.0), delays=(0.0, 0.0, 1.0))
    text = "127.0.0.1 started rank 1 of 2, not one of the 3 ranks of this job"
    assert [str(error) for error in results] == [text, f"rank 0 reports: {text}", f"rank 0 reports: {text}"]


def test_a_rank_that_is_started_twice(chief):
    calls = [(Rank(number, 3), [chief, "", ""], 30.0) for number in (0, 1, 1, 2)]
    results = meet(*calls, delays=(0.0, 0.0, 0.8, 1.6))
    assert str(results.pop(2)) == "rank 0 reports: another process is rank 1 already"
    assert results == [results[0]] * 3


def test_a_rank_that_went_away_may_come_back(chief):
    results = meet((Rank(0, 3), [chief, "", ""], 30.0), (Rank(1, 3), [chief, "", ""], 0.5),
                   (Rank(1, 3), [chief, "", ""], 30.0), (Rank(2, 3), [chief, "", ""], 30.0),
                   delays=(0.0, 0.0, 2.0, 2.5))
    assert "rank 1: waited" in str(results.pop(1))
    assert results == [results[0]] * 3


@pytest.mark.parametrize("content", [
    b"", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 1000, b"[" * 60000, b"{}", b"[]", b"5", b"[Infinity, 2, 1]",
    b'["1", 2, "a:1"]', b"[1, 2, 5]", b"1", b"1 2 3",
])
def test_strangers_are_ignored(chief, capfd, content):
    def call():
        time.sleep(0.3)
        with socket.create_connection(chief.split(":")) as stranger:
            stranger.sendall(content)

    thread = threading.Thread(target=call)
    thread.start()
    results = meet(*[(Rank(number, 2), [chief, ""], 30.0) for number in range(2)], delays=(0.0, 1.0))
    thread.join()
    assert results[0] == results[1] and len(results[0]) == 2
    captured = capfd.readouterr()
    assert captured.err == "" and all(line.startswith("Rank 0 is waiting") for line in captured.out.splitlines())


def test_a_port_that_is_taken_is_named():
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen(1)
        with pytest.raises(ZooError, match="rank 0 cannot listen there"):
            processes.exchange(Rank(0, 2), [f"127.0.0.1:{taken.getsockname()[1]}", ""], 1.0)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("number", [0, 1])
def test_signals_end_the_waiting(chief, number, signum):
    script = ("import sys\nfrom common.cli import program\nfrom common.devices.selection import Rank\n"
              "from common.distributed import processes\n"
              f"sys.exit(program.run(lambda stop: processes.exchange(Rank({number}, 2), ['{chief}', ''], 60.0)))\n")
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    assert b"waiting for rank" in process.stdout.readline()
    process.send_signal(signum)
    assert process.communicate(timeout=10) and process.returncode == 128 + signum
