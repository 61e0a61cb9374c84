"""What the launcher does with its processes, which are small scripts here."""
from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from common.cli.program import StopRequest
from common.distributed import launcher, processes
from common.errors import ZooError
from tests import ROOT
from tests.common.rank_tables import write_table

NAMES = ("RANK_ID", "RANK_SIZE", "CM_WORKER_SIZE", "TF_CONFIG", "ASCEND_DEVICE_ID", "CUDA_VISIBLE_DEVICES")
WRITE = (f"import json, os, sys; json.dump({{name: os.environ.get(name) for name in {NAMES}}}, "
         "open(os.path.join(sys.argv[1], os.environ['RANK_ID']), 'w'))")


def start(script, job, *arguments, kind="cpu", environment=None):
    words = [sys.executable, "-c", script, *map(str, arguments)]
    return launcher.start(words, job, kind, dict(environment or os.environ), StopRequest())


def test_every_process_gets_its_rank(tmp_path):
    assert start(WRITE, processes.Job(3), tmp_path) == 0
    found = [json.loads((tmp_path / str(rank)).read_text()) for rank in range(3)]
    clusters = [json.loads(row["TF_CONFIG"]) for row in found]
    assert [row["task"] for row in clusters] == [dict(type="worker", index=rank) for rank in range(3)]
    assert len(set(clusters[0]["cluster"]["worker"])) == 3 and all(
        row["cluster"] == clusters[0]["cluster"] for row in clusters)
    assert [row["ASCEND_DEVICE_ID"] for row in found] == ["0", "1", "2"] and found[0]["RANK_SIZE"] == "3"


def test_ranks_of_several_machines_meet_by_themselves(tmp_path, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert start(WRITE, processes.Job(2, 2, 1), tmp_path) == 0
    variables = [json.loads((tmp_path / str(rank)).read_text()) for rank in (2, 3)]
    assert [(row["RANK_SIZE"], row["ASCEND_DEVICE_ID"], row["TF_CONFIG"]) for row in variables] == [
        ("4", "0", None), ("4", "1", None)]


def test_gpus_are_dealt_out(tmp_path):
    environment = dict(os.environ, CUDA_VISIBLE_DEVICES="5,7")
    assert start(WRITE, processes.Job(2), tmp_path, kind="gpu", environment=environment) == 0
    assert [json.loads((tmp_path / str(rank)).read_text())["CUDA_VISIBLE_DEVICES"] for rank in range(2)] == ["5", "7"]


def test_npus_of_the_second_machine(tmp_path):
    environment = dict(os.environ, **write_table(tmp_path, range(4)))
    assert start(WRITE, processes.Job(2, 2, 1), tmp_path, kind="npu", environment=environment) == 0
    found = {rank: json.loads((tmp_path / str(rank)).read_text()) for rank in (2, 3)}
    assert [(row["RANK_SIZE"], row["ASCEND_DEVICE_ID"], row["TF_CONFIG"]) for row in found.values()] == [
        ("4", "0", None), ("4", "1", None)]


def test_npus_without_a_table(tmp_path):
    chief = dict(CM_CHIEF_IP="10.0.0.1", CM_CHIEF_PORT="6000", CM_CHIEF_DEVICE="0")
    assert start(WRITE, processes.Job(2), tmp_path, kind="npu", environment=dict(os.environ, **chief)) == 0
    found = [json.loads((tmp_path / str(rank)).read_text()) for rank in range(2)]
    assert [(row["RANK_SIZE"], row["CM_WORKER_SIZE"], row["ASCEND_DEVICE_ID"]) for row in found] == [
        (None, "2", "0"), (None, "2", "1")]


def test_npus_from_the_given_one_on(tmp_path):
    environment = dict(os.environ, ASCEND_DEVICE_ID="4", **write_table(tmp_path, range(2)))
    assert start(WRITE, processes.Job(2), tmp_path, kind="npu", environment=environment) == 0
    assert [json.loads((tmp_path / str(rank)).read_text())["ASCEND_DEVICE_ID"] for rank in range(2)] == ["4", "5"]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="processes have an affinity on Linux")
@pytest.mark.parametrize("kind", ["cpu", "npu"])
def test_ranks_share_the_processors(tmp_path, kind):
    share = ("import os, sys, time; time.sleep(0.5); "
             "open(sys.argv[1] + '/' + os.environ['RANK_ID'], 'w').write(str(sorted(os.sched_getaffinity(0))))")
    environment = dict(os.environ, **write_table(tmp_path, range(2)))
    assert start(share, processes.Job(2), tmp_path, kind=kind, environment=environment) == 0
    found = [set(json.loads((tmp_path / str(rank)).read_text())) for rank in range(2)]
    usable = os.sched_getaffinity(0)
    if len(usable) > 1:
        assert not found[0] & found[1]
    assert found[0] | found[1] == usable


def test_the_table_of_another_job_starts_nothing(tmp_path):
    environment = dict(os.environ, **write_table(tmp_path, range(4)))
    with pytest.raises(ZooError, match="has 4 devices, expected 2"):
        start(WRITE, processes.Job(2), tmp_path, kind="npu", environment=environment)
    assert os.listdir(str(tmp_path)) == ["table.json"]


@pytest.mark.parametrize("visible, expected", [(None, ["0", "1"]), ("", ["", ""]), ("-1", ["-1", "-1"])])
def test_gpus_that_are_hidden_stay_hidden(tmp_path, visible, expected):
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    environment.update({} if visible is None else dict(CUDA_VISIBLE_DEVICES=visible))
    assert start(WRITE, processes.Job(2), tmp_path, kind="gpu", environment=environment) == 0
    assert [json.loads((tmp_path / str(rank)).read_text())["CUDA_VISIBLE_DEVICES"] for rank in range(2)] == expected


def test_fewer_gpus_than_ranks():
    with pytest.raises(ZooError, match="CUDA_VISIBLE_DEVICES=5,7: lists 2 GPUs for --nproc_per_node=3"):
        start("", processes.Job(3), kind="gpu", environment=dict(os.environ, CUDA_VISIBLE_DEVICES="5,7"))


@pytest.mark.parametrize("hears", [True, False])
def test_ranks_end_with_a_launcher_that_is_killed(tmp_path, hears):
    """As on SIGTERM; one that cannot hear, as in a collective, is ended after a while."""
    rank = (f"import os, signal, sys, time\nsys.path.insert(0, {ROOT!r})\n"
            "from common.cli import program\nfrom common.distributed import processes\n"
            "processes.STOP_SECONDS = 0.5\n"
            "path = os.path.join(sys.argv[1], os.environ['RANK_ID'])\n"
            "def body(stop):\n"
            "    processes.watch_launcher()\n"
            f"    {'pass' if hears else 'signal.signal(signal.SIGTERM, signal.SIG_IGN)'}\n"
            "    open(path + '.tmp', 'w').write(str(os.getpid())); os.rename(path + '.tmp', path)\n"
            "    time.sleep(60)\n"
            "program.run(body)\nopen(path + '.ended', 'w')")
    script = ("import os, sys\nfrom common.cli import program\nfrom common.distributed import launcher, processes\n"
              "words = [sys.executable, '-c', *sys.argv[1:]]\n"
              "program.run(lambda stop: launcher.start(words, processes.Job(2), 'cpu', os.environ, stop))")
    process = subprocess.Popen([sys.executable, "-c", script, rank, str(tmp_path)], stderr=subprocess.DEVNULL,
                               env=dict(os.environ, PYTHONPATH=ROOT))
    files = [tmp_path / "0", tmp_path / "1"]
    until(lambda: all(file.exists() for file in files))
    process.kill()
    process.wait()
    until(lambda: not any(is_alive(int(file.read_text())) for file in files))
    assert all((tmp_path / f"{number}.ended").exists() == hears for number in range(2))


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_alive(number):
    """Whether a process runs; one that has ended may still wait for its parent to look."""
    try:
        with open(f"/proc/{number}/stat", encoding="ascii") as file:
            return file.read().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # gone before it is opened, or read
        return False


@pytest.mark.parametrize("job, kind, message", [
    (processes.Job(2), "npu", "RANK_TABLE_FILE is not set"),
    (processes.Job(1, 2, 2), "cpu", "--node_rank=2: expected 0 to 1"),
])
def test_impossible_jobs_are_refused(job, kind, message):
    environment = {name: value for name, value in os.environ.items() if name != "RANK_TABLE_FILE"}
    with pytest.raises(ZooError, match=message):
        start("", job, kind=kind, environment=environment)


ADVICE = "; the same command resumes from the last checkpoint"


@pytest.mark.parametrize("ending, status, line", [
    ("sys.exit(3)", 3, "[Error] rank 1 ended with exit status 3: the other ranks are stopped"),
    ("os.kill(os.getpid(), 9)", 137, f"[Error] rank 1 was ended by SIGKILL: the other ranks are stopped{ADVICE}"),
    ("sys.exit(134)", 134, f"[Error] rank 1 ended with exit status 134: the other ranks are stopped{ADVICE}"),
])
def test_a_rank_that_fails_ends_all(capfd, ending, status, line):
    """Only after a kill is it advised to resume."""
    script = (f"import os, signal, sys, time\nif os.environ['RANK_ID'] == '1':\n    time.sleep(0.3); {ending}\n"
              "signal.signal(signal.SIGTERM, signal.SIG_DFL)\ntime.sleep(60)")
    began = time.monotonic()
    assert start(script, processes.Job(2)) == status
    assert time.monotonic() - began < 30
    assert capfd.readouterr().err.splitlines() == [line]


@pytest.mark.parametrize("who, expected", [("0", ["[Error] mistake of 0"]), ("1", ["[Error] mistake of 1"]),
                                           ("012", ["[Error] mistake of 0"])])
def test_a_mistake_is_one_line(capfd, monkeypatch, who, expected):
    """Found by rank 0, by another, by all; those that are stopped say nothing, not even when they must be killed."""
    monkeypatch.setattr(launcher, "_OTHERS_SECONDS", 1.0)
    script = ("import os, signal, sys, time\nrank = os.environ['RANK_ID']\n"
              f"if rank in {who!r}:\n"
              "    time.sleep(0.3 if rank == '0' else 0.1)\n"
              "    print('a warning of rank', rank, file=sys.stderr) if rank != '0' else None\n"
              "    print('[Error] mistake of', rank, file=sys.stderr); sys.exit(2)\n"
              "if rank == '2':\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
              "time.sleep(60)")
    began = time.monotonic()
    assert start(script, processes.Job(3)) == 2
    assert time.monotonic() - began < 15
    assert capfd.readouterr().err.splitlines() == expected


@pytest.mark.parametrize("ending, status", [("sys.exit(75)", 75), ("print('[Error] mistake', file=sys.stderr); "
                                                                   "sys.exit(1)", 1), ("os.kill(os.getpid(), 9)", 137)])
def test_status_75_only_if_no_rank_of_this_machine_is_the_cause(capfd, ending, status):
    """Rank 0 has lost another rank: one of another machine, which rank 1 has lost as well, or rank 1."""
    script = ("import os, sys, time\nif os.environ['RANK_ID'] == '0':\n    print('[Error] lost', file=sys.stderr); "
              f"sys.exit(75)\ntime.sleep(1.0); {ending}")
    began = time.monotonic()
    assert start(script, processes.Job(2)) == status
    assert time.monotonic() - began < 15
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "[Error] lost" and len(lines) == (1 if status == 75 else 2)
    assert status != 1 or lines[1] == "[Error] mistake"


def test_a_rank_that_waits_for_a_lost_one_does_not_keep_the_others(monkeypatch):
    monkeypatch.setattr(launcher, "_OTHERS_SECONDS", 0.5)
    script = "import os, sys, time\nif os.environ['RANK_ID'] == '0': sys.exit(75)\ntime.sleep(60)"
    began = time.monotonic()
    assert start(script, processes.Job(2)) == 75
    assert 0.5 < time.monotonic() - began < 15


def test_a_traceback_of_another_rank_is_shown(capfd, monkeypatch):
    monkeypatch.setattr(launcher, "_OTHERS_SECONDS", 0.5)
    assert start("import os, time\nif os.environ['RANK_ID'] == '1': 1 / 0\ntime.sleep(60)", processes.Job(2)) == 1
    error = capfd.readouterr().err.splitlines()
    assert error[0].startswith("Traceback") and error[-1] == "ZeroDivisionError: division by zero"


def test_a_rank_that_ignores_sigterm_is_killed(monkeypatch, capfd):
    monkeypatch.setattr(launcher, "_CHIEF_SECONDS", 0.5)
    script = ("import os, signal, sys, time\nif os.environ['RANK_ID'] == '1':\n    time.sleep(0.5); sys.exit(1)\n"
              "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)")
    began = time.monotonic()
    assert start(script, processes.Job(2)) == 1
    assert time.monotonic() - began < 20
    assert "[Error] rank 0 does not end by itself" in capfd.readouterr().err
