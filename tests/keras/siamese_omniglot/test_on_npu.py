"""The network on a fake NPU, alone and as one rank of two."""
from __future__ import annotations

import json
import os

import pytest

from tests.keras.processes import run_on_fake_npu

FLAGS = ("--backbone=conv4", "--batch_size=4", "--train_steps=2", "--performance")


def run(folder, data, output, *flags, **environment):
    return run_on_fake_npu("siamese_omniglot.run_scripts.run_siamese_train", folder,
                           [f"--data_path={data}", f"--output_path={output}", *FLAGS, *flags], **environment)


def test_alone(tmp_path, tiny_folder):
    """Mixed precision needs a scaled loss: on an NPU the adapter's optimizer scales it."""
    result = run(tmp_path / "fake", tiny_folder, tmp_path / "out", "--use_amp=True", ASCEND_DEVICE_ID="3")
    assert result.returncode == 0, result.stderr.decode()
    *log, seen = result.stdout.decode().splitlines()
    assert json.loads(seen) == dict(status=0, calls=[["open", 3], ["as_default"], ["loss_scale_optimizer"]],
                                    openings=[[3, 1, "allow_mix_precision"]])
    assert "| adapter npu_device | precision allow_mix_precision" in log[0]
    assert (tmp_path / "out" / "3" / "metrics.jsonl").exists()


@pytest.mark.parametrize("rank", [0, 1])
def test_one_rank_of_two(tmp_path, tiny_folder, rank):
    """Broadcast once when all variables exist, then in a step's graph a sum of the gradients and one of numbers."""
    (tmp_path / "table.json").write_text("{}")
    result = run(tmp_path / "fake", tiny_folder, tmp_path / "out", RANK_SIZE="2", RANK_ID=str(rank),
                 ASCEND_DEVICE_ID=str(rank), RANK_TABLE_FILE=str(tmp_path / "table.json"))
    assert result.returncode == 0, result.stderr.decode()
    seen = json.loads(result.stdout.decode().splitlines()[-1])
    assert (seen["status"], seen["openings"]) == (0, [[rank, 1, "allow_fp32_to_fp16"]])
    (name, root, num), *sums = seen["calls"][2:]
    assert (name, root) == ("broadcast", 0) and num > 2 * 12  # weights, their momentum, counters
    assert sums == [["all_reduce", "sum", 12], ["all_reduce", "sum", 1]]
    names = os.listdir(str(tmp_path / "out" / str(rank)))
    assert "metrics.jsonl" in names if rank == 0 else names == ["train_1.log"]


@pytest.mark.parametrize("flags, environment, message", [
    (["--nproc_per_node=3", "--distributed=True"], {}, "an Ascend server takes 1, 2, 4 or 8 processes"),
    (["--nproc_per_node=2", "--distributed=True"], {}, "RANK_TABLE_FILE is not set"),
    ([], dict(RANK_SIZE="2"), "RANK_SIZE=2: RANK_ID and RANK_TABLE_FILE are needed too"),
    ([], dict(CM_WORKER_SIZE="2"), "CM_WORKER_SIZE is set"),
])
def test_wrong_set_ups(tmp_path, tiny_folder, flags, environment, message):
    result = run(tmp_path / "fake", tiny_folder, tmp_path / "out", *flags, **environment)
    assert result.returncode == 1
    error = result.stderr.decode()
    assert message in error and error.count("\n") == 1 and not (tmp_path / "out").exists()
