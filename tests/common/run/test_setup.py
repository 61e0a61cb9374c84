"""Where the processes of a job write."""
from __future__ import annotations

import os

import pytest

from common.cli.parser import FlagSet
from common.cli.shared_flags import define_accelerator, define_training
from common.devices import npu_options
from common.devices.ranks import Rank
from common.devices.selection import Device
from common.errors import ZooError
from common.run import run_dir, setup


def plan(rank, *arguments, device=None):
    flags = FlagSet("test")
    define_training(flags, "Images", 4, 0)
    define_accelerator(flags, "force_fp16")
    entry = setup.Entry("/model/train.py", "Net", "force_fp16", arguments, rank=rank)
    return setup.plan(entry, flags.parse(list(arguments)), device or Device("cpu", "0"), 10)


def log_of(planned):
    with setup.open_helper(planned, "2.6.5", ["a notice"]):
        pass
    return os.path.join(planned.path, f"train_{planned.id}.log")


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
    planned = plan(rank, f"--output_path={tmp_path / output}", device=Device("npu", device))
    assert planned.path == str(tmp_path / path)
    assert planned.id == os.path.basename(path)


def test_beside_the_run_that_rank_0_goes_on_with(tmp_path):
    """Which another machine need not have."""
    assert plan(Rank(1, 2), f"--resume={tmp_path / 'runs' / '0.2026'}").path == str(tmp_path / "runs" / "1")
    with pytest.raises(ZooError, match="no run directory"):
        plan(Rank(0, 2), f"--resume={tmp_path / 'runs' / '0.2026'}")


def test_dumps_of_a_rank_are_in_its_own_folder(tmp_path):
    planned = plan(Rank(8, 16), f"--output_path={tmp_path}", "--over_dump", "--auto_tune", device=Device("npu", "0"))
    assert planned.options.over_dump_path == str(tmp_path / "8" / "overflow_dump")
    log_of(planned)
    assert sorted(os.listdir(str(tmp_path / "8"))) == ["overflow_dump", "train_8.log", "tuning"]
    log_of(planned)  # the next job's
    assert (tmp_path / "8" / "train_8.log").read_text().count("a notice") == 2


@pytest.mark.parametrize("name, message", [(run_dir.ARGUMENTS, "is a run, and the log of rank 1 belongs there"),
                                           ("thesis.tex", "holds 'thesis.tex', and the log of rank 1 belongs there")])
def test_what_is_not_ours_is_left_alone(tmp_path, name, message):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / name).write_text("{}")
    with pytest.raises(ZooError, match=message):
        log_of(plan(Rank(1, 2), f"--output_path={tmp_path}"))
    assert os.listdir(str(tmp_path / "1")) == [name]


def test_two_jobs_do_not_write_one_log(tmp_path):
    planned = plan(Rank(1, 2), f"--output_path={tmp_path}")
    with setup.open_helper(planned, "2.6.5", []), pytest.raises(ZooError, match="a rank of another job writes"):
        log_of(planned)
    assert os.path.isfile(log_of(planned))


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
