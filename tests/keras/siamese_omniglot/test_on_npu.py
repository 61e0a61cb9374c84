"""The network on a fake NPU, alone and as one rank of two."""
from __future__ import annotations

import json
import os

import numpy as np
import pytest

from common.distributed import processes
from siamese_omniglot.run_scripts import run_siamese_train
from tests import fakes
from tests.conftest import slow_on_the_default_leg
from tests.processes import run_on_fake_npu, run_on_two_fake_npus
from tests.programs import error_line, one_line
from tests.results import losses, rows

ENTRY = "siamese_omniglot.run_scripts.run_siamese_train"
FLAGS = ("--backbone=conv4", "--batch_size=4", "--train_steps=2", "--performance")


def run(folder, data, output, *flags, **environment):
    return run_on_fake_npu(ENTRY, folder, [f"--data_path={data}", f"--output_path={output}", *FLAGS, *flags],
                           **environment)


def test_alone(tmp_path, tiny_folder):
    """Mixed precision needs a scaled loss: on an NPU the adapter's optimizer scales it."""
    result = run(tmp_path / "fake", tiny_folder, tmp_path / "out", "--use_amp=True", ASCEND_DEVICE_ID="3")
    assert result.returncode == 0, result.stderr.decode()
    *log, seen = result.stdout.decode().splitlines()
    seen = json.loads(seen)
    assert seen["openings"] == [[3, 1, "allow_mix_precision"]]
    assert seen["calls"] == [["open", 3], ["as_default"], ["loss_scale_optimizer"]]
    assert "| adapter npu_device | precision allow_mix_precision" in log[0]
    assert [row["loss_scale"] for row in rows(tmp_path / "out" / "3", "step")] == [2.0 ** 15] * 2


@slow_on_the_default_leg  # the adapter supports Keras 2 alone
def test_two_ranks(tmp_path, tiny_folder):
    """The adapter's calls in the order that it needs, the same graphs on both, evaluations included, and the losses of
    one process with the whole batch.
    """
    common = [f"--data_path={tiny_folder}", "--lr=1e-4", "--early_stop=1", *FLAGS[:-1]]
    seen = run_on_two_fake_npus(ENTRY, tmp_path / "fake",
                                [f"--output_path={tmp_path / 'out'}", "--use_amp=True", *common])
    same = ["all_reduce", "sum", 1, 0]  # of the ranks' checksums, and again to agree on evaluations
    for rank, one in enumerate(seen):
        assert one["openings"] == [[rank, 1, "allow_mix_precision"]]
        *before, (name, root, num), gradients, numbers = one["calls"]
        assert before == [["open", rank], ["as_default"], same, ["shard", 8, 4], ["loss_scale_optimizer"]]
        assert (name, root) == ("broadcast", 0) and num > 2 * 12  # weights, their momentum, counters
        assert gradients == ["all_reduce", "sum", 12, 1] and numbers == same
    assert seen[0]["graphs"] == seen[1]["graphs"]
    assert len(seen[0]["graphs"]) == 4  # step, sum, features, similarity
    assert (tmp_path / "out" / "0" / "ckpt" / "model.ckpt-2.index").exists()
    assert os.listdir(str(tmp_path / "out" / "1")) == ["train_1.log"]
    assert run_siamese_train.main([f"--output_path={tmp_path / 'alone'}", "--device=cpu", *common]) == 0
    np.testing.assert_allclose(losses(tmp_path / "out" / "0"), losses(tmp_path / "alone" / "0"), rtol=1e-5)


@pytest.mark.parametrize("flags, environment, message", [
    (["--nproc_per_node=8", "--distributed=True", "--batch_size=12"], {},
     "--batch_size=12: 8 NPUs share a batch evenly; choose a multiple of 8"),
    (["--nproc_per_node=3", "--distributed=True", "--batch_size=6", "--npu_product=910A"], {},
     "on Ascend 910A a server takes 1, 2, 4 or 8 processes, not 3"),
    (["--nproc_per_node=2", "--distributed=True", "--npu_product=910A"], dict(ASCEND_DEVICE_ID="3"),
     "on Ascend 910A 2 processes stay within cards 0 to 3 or 4 to 7, not cards 3, 4"),
    ([], dict(RANK_SIZE="2"), "RANK_TABLE_FILE is not set: 2 NPUs need HCCL's rank table"),
    ([], dict(CM_WORKER_SIZE="2"), "CM_CHIEF_IP is not set"),
])
def test_wrong_set_ups(tmp_path, tiny_folder, monkeypatch, capfd, flags, environment, message):
    monkeypatch.setattr(processes, "launch", lambda *_: pytest.fail("processes are started"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with fakes.installed("hicann", "npu_device") as process:
        status = run_siamese_train.main([f"--data_path={tiny_folder}", f"--output_path={tmp_path / 'out'}", *FLAGS,
                                         *flags])
        assert process.openings == []
    assert status == (2 if message.startswith("--batch_size") else 1)
    assert message in error_line(capfd) and not (tmp_path / "out").exists()


def test_the_launcher_needs_a_rank_table(tmp_path, tiny_folder):
    """Three processes, which the product allows."""
    result = run(tmp_path / "fake", tiny_folder, tmp_path / "out", "--nproc_per_node=3", "--distributed=True",
                 "--batch_size=6", "--npu_product=A2")
    assert result.returncode == 1 and "RANK_TABLE_FILE is not set" in one_line(result.stderr.decode())
    assert not (tmp_path / "out").exists()
