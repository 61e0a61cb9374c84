"""Ranks from the environment, and what the launcher does with its processes; the processes here are small scripts."""
from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from common.cli.parser import FlagSet
from common.cli.program import StopRequest
from common.cli.shared_flags import define_accelerator, define_training
from common.devices import ranks
from common.devices.selection import Rank
from common.distributed import launcher, processes
from common.errors import FlagError, ZooError
from tests import ROOT

NAMES = ("RANK_ID", "RANK_SIZE", "CM_WORKER_SIZE", "TF_CONFIG", "ASCEND_DEVICE_ID", "CUDA_VISIBLE_DEVICES")
WRITE = (f"import json, os, sys; json.dump({{name: os.environ.get(name) for name in {NAMES}}}, "
         "open(os.path.join(sys.argv[1], os.environ['RANK_ID']), 'w'))")


def config(*workers, index=0, **cluster):
    return json.dumps(dict(cluster=dict(worker=list(workers), **cluster), task=dict(type="worker", index=index)))


def test_alone():
    assert ranks.current({}, "cpu") == Rank(0, 1)
    assert ranks.current({"RANK_SIZE": "1", "RANK_ID": "0", "RANK_TABLE_FILE": "x"}, "npu") == Rank(0, 1)
    assert ranks.current({"TF_CONFIG": config("a:1")}, "gpu") == Rank(0, 1)
    assert Rank().is_chief and not Rank(1, 2).is_chief


def test_ranks():
    assert ranks.current({"TF_CONFIG": config("a:1", "b:1", index=1)}, "cpu") == Rank(1, 2)
    with_chief = dict(cluster=dict(chief=["a:1"], worker=["b:1", "c:1"]), task=dict(type="worker", index=1))
    assert ranks.current({"TF_CONFIG": json.dumps(with_chief)}, "cpu") == Rank(2, 3)
    with_chief["task"] = dict(type="chief", index=0)
    assert ranks.current({"TF_CONFIG": json.dumps(with_chief)}, "gpu") == Rank(0, 3)


@pytest.mark.parametrize("environment, starter", [
    (dict(RANK_ID="2", RANK_SIZE="3"), "RANK_SIZE"),
    (dict(SLURM_PROCID="2", SLURM_STEP_NUM_TASKS="3"), "Slurm"),
    (dict(OMPI_COMM_WORLD_RANK="2", OMPI_COMM_WORLD_SIZE="3"), "Open MPI"),
    (dict(PMI_RANK="2", PMI_SIZE="3"), "MPICH"),
    (dict(TF_CONFIG=config("a:1", "b:1", "c:1", index=2), PMI_RANK="0", PMI_SIZE="2"), "TF_CONFIG"),
])
def test_ranks_of_whoever_starts_them(environment, starter):
    """RANK_SIZE=1, which the scripts set, is not more than one."""
    environment = dict(dict(RANK_ID="0", RANK_SIZE="1"), **environment)
    assert ranks.starter_of(environment) == starter
    assert ranks.current(environment, "cpu") == Rank(2, 3)


def resolve(monkeypatch, environment, *words):
    """Resolve the rank of a CPU program that is started in an environment."""
    for name in {*NAMES, *(name for variables in ranks.STARTERS.values() for name in variables if name)}:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    flags = FlagSet("test")
    define_training(flags, "Images", 4, 0)
    define_accelerator(flags, "force_fp16")
    processes.define(flags)
    values = flags.parse(list(words))
    rank = processes.resolve_rank(values, "gpu")
    return rank, processes.addresses(values, rank)


MPI = dict(OMPI_COMM_WORLD_RANK="3", OMPI_COMM_WORLD_SIZE="4", OMPI_COMM_WORLD_LOCAL_RANK="1")


def test_a_job_is_ignored_without_distributed(monkeypatch, capfd):
    assert resolve(monkeypatch, MPI)[0] == Rank()
    assert resolve(monkeypatch, dict(TF_CONFIG="{"))[0] == Rank()
    assert capfd.readouterr().out.splitlines() == ["Notice: Open MPI is ignored without --distributed",
                                                   "Notice: TF_CONFIG is ignored without --distributed"]
    assert "TF_CONFIG" not in os.environ


def test_ranks_of_mpi_meet_at_the_address_of_rank_0(monkeypatch):
    on_two_machines = dict(MPI, OMPI_COMM_WORLD_LOCAL_SIZE="2")
    with pytest.raises(FlagError, match="LOCAL_SIZE=2 of 4 ranks are on this machine: .*, with --master_addr"):
        resolve(monkeypatch, on_two_machines, "--distributed")
    rank, addresses = resolve(monkeypatch, on_two_machines, "--distributed", "--master_addr=a", "--master_port=7")
    assert (rank, addresses) == (Rank(3, 4), ["a:7", "", "", ""])
    assert resolve(monkeypatch, MPI, "--distributed")[1] == ["127.0.0.1:29500", "", "", ""]


@pytest.mark.parametrize("visible, expected", [("5,7", "7"), ("5", "5"), ("-1", "-1")])
def test_a_rank_of_mpi_takes_its_own_gpu(monkeypatch, visible, expected):
    resolve(monkeypatch, dict(MPI, CUDA_VISIBLE_DEVICES=visible), "--distributed")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == expected


def write_table(folder, ranks):
    """A table of version 1.0 with two servers; returns the environment that names it."""
    servers = [dict(server_id=f"10.0.0.{server}", device=[
        dict(device_id=str(rank), device_ip=f"192.168.100.{rank}", rank_id=str(rank)) for rank in ranks[server::2]])
        for server in range(2)]
    (folder / "table.json").write_text(json.dumps(dict(version="1.0", server_count="2", server_list=servers,
                                                       status="completed")))
    return dict(RANK_TABLE_FILE=str(folder / "table.json"))


CHIEF = dict(CM_WORKER_SIZE="2", CM_CHIEF_IP="10.0.0.1", CM_CHIEF_PORT="6000", CM_CHIEF_DEVICE="4",
             ASCEND_DEVICE_ID="4")


def test_ranks_without_a_table():
    assert ranks.current(CHIEF, "npu") == Rank(0, 2)
    assert ranks.current(dict(CHIEF, ASCEND_DEVICE_ID="5", CM_WORKER_IP="10.0.0.1"), "npu") == Rank(1, 2)
    assert ranks.current(dict(CHIEF, RANK_ID="1", CM_WORKER_IP="10.0.0.2"), "npu") == Rank(1, 2)


def test_ranks_of_a_table(tmp_path):
    environment = dict(write_table(tmp_path, range(8)), RANK_SIZE="8", RANK_ID="5")
    assert ranks.current(environment, "npu") == Rank(5, 8)


def test_ranks_of_the_table_of_a_scheduler(tmp_path):
    """ModelArts' scheduler writes no ranks; RANK_ID says which this one is."""
    instances = [dict(pod_name="a", server_id="10.0.0.1", devices=[dict(device_id=str(number), device_ip="192.168.1.1")
                                                                   for number in range(4)])]
    (tmp_path / "jobstart_hccl.json").write_text(json.dumps(dict(status="completed", group_count="1", group_list=[
        dict(group_name="worker", device_count="4", instance_count="1", instance_list=instances)])))
    environment = dict(RANK_TABLE_FILE=str(tmp_path / "jobstart_hccl.json"), RANK_SIZE="4", RANK_ID="3")
    assert ranks.current(environment, "npu") == Rank(3, 4)
    with pytest.raises(ZooError, match="has 4 devices, expected 2"):
        ranks.current(dict(environment, RANK_SIZE="2", RANK_ID="1"), "npu")


@pytest.mark.parametrize("text, message", [
    (None, "table.json: No such file or directory; give HCCL's rank table"),
    ("{", "is not a rank table .JSONDecodeError"),
    ("[]", "is not a rank table"),
    ('{"server_list": [{"devices": []}]}', "is not a rank table .KeyError: 'device'.; expected JSON with server_list"),
    ('{"server_list": [{"device": [{"device_id": "0", "rank_id": "0"}]}]}', "has 1 devices, expected 2, one for each"),
    ('{"server_list": [{"device": [{"device_id": "0", "rank_id": "1"}, {"device_id": "1", "rank_id": "2"}]}]}',
     'has the ranks 1, 2; expected "0" to "1"'),
])
def test_rank_tables_that_do_not_fit(tmp_path, text, message):
    if text is not None:
        (tmp_path / "table.json").write_text(text)
    environment = dict(RANK_SIZE="2", RANK_ID="1", RANK_TABLE_FILE=str(tmp_path / "table.json"))
    with pytest.raises(ZooError, match=message) as raised:
        ranks.current(environment, "npu")
    assert "\n" not in str(raised.value)


def test_the_size_of_an_npu_alone():
    assert ranks.current({"CM_WORKER_SIZE": "1"}, "npu") == Rank(0, 1)
    assert ranks.current({"RANK_SIZE": "1", "CM_CHIEF_IP": "10.0.0.1"}, "npu") == Rank(0, 1)
    assert ranks.current({"RANK_SIZE": "1", "CM_WORKER_SIZE": "1"}, "npu") == Rank(0, 1)


@pytest.mark.parametrize("environment, kind, message", [
    ({"RANK_SIZE": "2"}, "cpu", "RANK_ID is not set: RANK_SIZE=2 needs one from 0 to 1"),
    ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "2"}, "gpu",
     "OMPI_COMM_WORLD_RANK=2: expected 0 to 1, OMPI_COMM_WORLD_SIZE is 2"),
    ({"RANK_SIZE": "two"}, "cpu", "RANK_SIZE=two: expected a number"),
    ({"RANK_SIZE": "2", "RANK_ID": "0"}, "npu", "RANK_TABLE_FILE is not set: 2 NPUs need HCCL's rank table"),
    ({"RANK_SIZE": "2", "RANK_TABLE_FILE": "x"}, "npu", "RANK_ID is not set: RANK_SIZE=2 needs one from 0 to 1"),
    ({"RANK_SIZE": "2", "CM_WORKER_SIZE": "2"}, "npu", "both set, which the adapter refuses: unset one"),
    ({"RANK_SIZE": "2", "RANK_TABLE_FILE": "x", "RANK_ID": "0", "CM_CHIEF_IP": "10.0.0.1"}, "npu", "unset one of them"),
    ({"RANK_SIZE": "2", "RANK_TABLE_FILE": "x", "RANK_ID": "2"}, "npu", "RANK_ID=2: expected 0 to 1"),
    ({"CM_WORKER_SIZE": "2"}, "npu", "CM_CHIEF_IP is not set: CM_WORKER_SIZE=2 needs it"),
    ({"CM_WORKER_SIZE": "2", "CM_CHIEF_IP": "10.0.0.1", "CM_CHIEF_PORT": "6000"}, "npu", "CM_CHIEF_DEVICE is not set"),
    (dict(CHIEF, RANK_ID="2"), "npu", "RANK_ID=2: expected 0 to 1, CM_WORKER_SIZE is 2"),
    (dict(CHIEF, ASCEND_DEVICE_ID="3"), "npu", "ASCEND_DEVICE_ID=3: expected 4 to 5, .*or set RANK_ID"),
    (dict(CHIEF, CM_WORKER_IP="10.0.0.2"), "npu", "RANK_ID is not set: on another server"),
    ({"TF_CONFIG": "{"}, "cpu", "TF_CONFIG=.*cannot be used"),
    ({"TF_CONFIG": config("a:1", "b:1", index=2)}, "cpu", "cannot be used"),
    ({"TF_CONFIG": config("a:1", "b:1", ps=["c:1"])}, "cpu", "every task must be a worker"),
    ({"TF_CONFIG": config("a:1", chief=["b:1", "c:1"])}, "cpu", "or its one chief"),
    ({"TF_CONFIG": config("a:1", index=-1)}, "cpu", "cannot be used"),
    ({"TF_CONFIG": "[1]"}, "cpu", "cannot be used"),
    ({"TF_CONFIG": '{"cluster": [1], "task": {"type": "worker", "index": 0}}'}, "cpu", "cannot be used"),
    ({"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}'}, "cpu",
     "cannot be used"),
])
def test_environments_that_do_not_fit(environment, kind, message):
    with pytest.raises(ZooError, match=message):
        ranks.current(environment, kind)


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


def test_leaving_with_a_tf_config_that_cannot_be_used(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{")
    with pytest.raises(SystemExit) as ending:
        processes.leave(2)
    assert ending.value.code == 2


@pytest.mark.parametrize("given, warnings", [
    ([], []),
    (["--distributed=True", "--nproc_per_node=3"], []),
    (["--distributed=False"], ["--distributed=False has no effect: RANK_SIZE defines 3 processes"]),
    (["--distributed=True", "--nproc_per_node=2"], ["--nproc_per_node=2 --nnode=1 have no effect: RANK_SIZE defines"]),
])
def test_flags_that_the_environment_overrides(monkeypatch, given, warnings):
    monkeypatch.setenv("RANK_SIZE", "3")
    flags = FlagSet("test")
    processes.define(flags)
    *lines, last = processes.notices(flags.parse(given), Rank(1, 3), "6 pairs")
    assert len(lines) == len(warnings) and all(text in line for text, line in zip(warnings, lines))
    assert last == "Rank 1 of 3 (RANK_SIZE), which share the 6 pairs of every step"


@pytest.mark.parametrize("given, kind, warns", [
    (["--nnode=2"], "cpu", True), (["--nnode=2", "--master_addr=10.0.0.1"], "cpu", False),
    (["--nproc_per_node=2"], "gpu", False), (["--nnode=2"], "npu", False)])
def test_machines_that_cannot_meet(monkeypatch, capfd, given, kind, warns):
    monkeypatch.setattr(processes, "launch", lambda *_: None)
    flags = FlagSet("test")
    processes.define(flags)
    processes.start(flags.parse(["--distributed=True", *given]), ["train.py"], kind)
    assert ("without --master_addr" in capfd.readouterr().err) == warns


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
            "    processes.watch_launcher(os.environ)\n"
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
