"""What a run asks for, and where the processes of a job write."""
from __future__ import annotations

import os

import pytest

from common.cli.parser import FlagSet
from common.cli.shared_flags import define_accelerator, define_training
from common.devices import npu_options
from common.devices.selection import Device, Rank
from common.errors import FlagError, ZooError
from common.run import run_dir
from tests import runs


def log_of(folder, *arguments, **options):
    """Path of the log of a job's process, after it has run."""
    run = runs.opened(folder, *arguments, notices=["a notice"], **options)
    return os.path.join(run.path, f"train_{run.request.id}.log")


def test_case_name(tmp_path):
    assert runs.request(tmp_path).case_name == "Net_ID1_for_TensorFlow_bs4_1p_acc"
    eight = runs.request(tmp_path, "--performance", "--batch_size=128", rank=Rank(0, 8))
    assert eight.case_name == "Net_ID1_for_TensorFlow_bs128_8p_perf"


@pytest.mark.parametrize("rank, device, output, path", [
    (Rank(), "3", "out", "out/3"),
    (Rank(0, 16), "0", "out", "out/0"),
    (Rank(8, 16), "0", "out", "out/8"),  # first device of the second machine, on a common disk
    (Rank(0, 2), "4", "out", "out/0"),
    (Rank(1, 2), "1", "out/0", "out/1"),  # beside rank 0's, not in it
    (Rank(1, 2), "1", "out/1", "out/1/1"),
    (Rank(0, 2), "0", "out/1", "out/1/0"),
])
def test_folders_are_named_by_rank(tmp_path, rank, device, output, path):
    request = runs.request(tmp_path / output, rank=rank, device=Device("npu", device))
    assert request.path == str(tmp_path / path)
    assert request.id == os.path.basename(path)


def test_beside_the_run_that_rank_0_resumes(tmp_path):
    """Which another machine need not have."""
    resume = f"--resume={tmp_path / 'runs' / '0.2026'}"
    assert runs.request(tmp_path, resume, rank=Rank(1, 2)).path == str(tmp_path / "runs" / "1")
    with pytest.raises(ZooError, match="not a run directory"):
        runs.request(tmp_path, resume, rank=Rank(0, 2))


def test_dumps_of_a_rank_are_in_its_own_folder(tmp_path):
    job = dict(rank=Rank(8, 16), device=Device("npu", "0"))
    request = runs.request(tmp_path, "--over_dump", "--auto_tune", **job)
    assert request.options.over_dump_path == str(tmp_path / "8" / "overflow_dump")
    log_of(tmp_path, "--over_dump", "--auto_tune", **job)
    assert sorted(os.listdir(str(tmp_path / "8"))) == ["overflow_dump", "train_8.log", "tuning"]
    log_of(tmp_path, "--over_dump", "--auto_tune", **job)  # the next job's
    assert (tmp_path / "8" / "train_8.log").read_text().count("a notice") == 2


@pytest.mark.parametrize("flags, options, reason", [
    ([], dict(device=Device("npu", "0")), "an NPU has its own compiler"),
    ([], dict(rank=Rank(0, 2)), "it is for one process"),
    (["--over_dump"], {}, "XLA leaves out the checks of --over_dump"),
])
def test_xla_is_refused_where_it_cannot_be(tmp_path, flags, options, reason):
    with pytest.raises(FlagError, match=f"^--jit_compile: {reason}; leave the flag out$"):
        runs.request(tmp_path, "--jit_compile", *flags, **options)
    assert runs.request(tmp_path, "--jit_compile").flags.jit_compile


@pytest.mark.parametrize("name, message", [(run_dir.ARGUMENTS, "is a run, but is needed for the log of rank 1"),
                                           ("thesis.tex", "holds 'thesis.tex', but is needed for the log of rank 1")])
def test_folders_of_others_are_left_alone(tmp_path, name, message):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / name).write_text("{}")
    with pytest.raises(ZooError, match=message):
        log_of(tmp_path, rank=Rank(1, 2))
    assert os.listdir(str(tmp_path / "1")) == [name]


def test_two_jobs_do_not_write_one_log(tmp_path):
    with runs.open_run(tmp_path, rank=Rank(1, 2)), pytest.raises(ZooError, match="in use by a rank of another job"):
        log_of(tmp_path, rank=Rank(1, 2))
    assert os.path.isfile(log_of(tmp_path, rank=Rank(1, 2)))


def test_folders_of_the_adapter_are_known():
    """All that `resolve` makes in a run's folder may be there when the next job begins."""
    names = set()
    for flag in ("--over_dump", "--data_dump_flag", "--profiling", "--auto_tune"):
        flags = FlagSet("test")
        define_training(flags, "Images", 4, 0)
        define_accelerator(flags, "force_fp16")
        options = npu_options.resolve(flags.parse([flag]), "/model", "/run", "force_fp16", 10)
        names |= {os.path.relpath(path, "/run") for path in (
            options.data_dump_path, options.over_dump_path, options.profiling_path, options.tuning_path) if path}
    assert names == set(npu_options.FOLDERS)
