"""Flags and environment of programs that train with several processes."""
from __future__ import annotations

import os

import pytest

from common.cli.parser import FlagSet
from common.cli.shared_flags import define_accelerator, define_training
from common.devices import ranks
from common.devices.selection import Rank
from common.distributed import processes
from common.errors import FlagError


def resolve(monkeypatch, environment, *words):
    """Resolve the rank of a program that is started in an environment."""
    of_starters = [name for variables in ranks.STARTERS.values() for name in variables if name]
    for name in ("TF_CONFIG", "CUDA_VISIBLE_DEVICES", *of_starters):
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
    with pytest.raises(FlagError, match="--master_port=65533: the 4 ranks use the ports from there on"):
        resolve(monkeypatch, MPI, "--distributed", "--master_port=65533")
    assert resolve(monkeypatch, MPI, "--distributed", "--master_port=65532")[1][0] == "127.0.0.1:65532"
    assert resolve(monkeypatch, MPI, "--distributed")[1] == ["127.0.0.1:29500", "", "", ""]


@pytest.mark.parametrize("visible, expected", [("5,7", "7"), ("5", "5"), ("-1", "-1")])
def test_a_rank_of_mpi_takes_its_own_gpu(monkeypatch, visible, expected):
    resolve(monkeypatch, dict(MPI, CUDA_VISIBLE_DEVICES=visible), "--distributed")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == expected


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
