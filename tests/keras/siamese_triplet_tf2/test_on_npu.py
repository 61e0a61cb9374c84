"""The triplet network on a fake NPU: opened before anything is made, options arrive, shapes stay."""
from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest

from siamese_triplet_tf2 import siamese_network
from tests import fakes
from tests.processes import run_on_two_fake_npus
from tests.results import losses

FLAGS = ("--backbone=tiny", "--batch_size=8", "--train_steps=3")


def train(folder, output, *flags):
    return siamese_network.main([f"--data_path={folder}", f"--output_path={output}", *FLAGS, *flags])


@pytest.mark.parametrize("version", fakes.VERSIONS)
def test_a_run(tmp_path, look_alike_folder, monkeypatch, capfd, version):
    monkeypatch.setenv("ASCEND_DEVICE_ID", "2")
    with fakes.installed(version, "npu_device") as process:
        assert train(look_alike_folder, tmp_path, "--data_dump_flag", "--data_dump_step=1|3", "--profiling",
                     "--use_mixlist", "--fusion_off_flag", "--auto_tune", "--static_shape") == 0
        (opening,) = process.openings
    run = tmp_path / "2"
    options = opening.options
    assert (opening.device_id, opening.num_as_default) == (2, 1)
    assert options["precision_mode"] == "allow_mix_precision"  # what use_mixlist implies
    assert options["modify_mixlist"].endswith("siamese_triplet_tf2/configs/ops_info.json")
    assert options["fusion_switch_file"].endswith("siamese_triplet_tf2/configs/fusion_switch.cfg")
    assert (options["enable_dump"], options["dump_path"], options["dump_step"]) == ("1", str(run / "data_dump"), "1|3")
    assert json.loads(options["profiling_options"])["output"] == str(run / "profiling")
    tuning = {name: options.get(name) for name in ("auto_tune_mode", "aoe_mode")}
    assert tuning["auto_tune_mode" if version == "r1.8" else "aoe_mode"] == ("RL,GA" if version == "r1.8" else "2")
    assert os.listdir(str(run / "data_dump")) == []  # on an NPU the adapter dumps, not we
    assert "Device: npu | TensorFlow" in capfd.readouterr().out


def test_the_entry_s_own_precision(tmp_path, look_alike_folder):
    with fakes.installed("hicann", "npu_device") as process:
        assert train(look_alike_folder, tmp_path) == 0
        assert process.openings[0].options["precision_mode"] == "allow_fp32_to_fp16"
        assert ("loss_scale_optimizer",) not in process.calls


def test_the_loss_is_scaled_by_the_adapter_s_optimizer(tmp_path, look_alike_folder):
    """Ascend 910 clips instead of making infinities, so Keras' own would never see an overflow."""
    with fakes.installed("hicann", "npu_device") as process:
        assert train(look_alike_folder, tmp_path, "--loss_scale=dynamic") == 0
        assert process.calls.count(("loss_scale_optimizer",)) == 1


@pytest.mark.skipif(sys.version_info >= (3, 11), reason="with Keras 3 tested on siamese_omniglot")
def test_two_ranks(tmp_path, look_alike_folder):
    """The adapter's calls in the order that it needs, the same graphs on both, evaluations included, and the losses of
    one process with the whole batch.
    """
    common = [f"--data_path={look_alike_folder}", *FLAGS, "--recipe=corrected", "--cache_features=off"]
    seen = run_on_two_fake_npus("siamese_triplet_tf2.siamese_network", tmp_path / "fake",
                                [f"--output_path={tmp_path / 'out'}", *common])
    trained = 2 + 2 + 3 * 2 + 2 * 2  # convolution, its normalisation, three dense layers, two normalisations
    same = ["all_reduce", "sum", 1, 0]  # of the ranks' checksums, and again to agree on evaluations
    for rank, one in enumerate(seen):
        assert one["openings"] == [[rank, 1, "allow_fp32_to_fp16"]]
        *before, (name, root, num), gradients, numbers = one["calls"]
        assert before == [["open", rank], ["as_default"], same, ["shard", 8, 4]]
        assert (name, root) == ("broadcast", 0) and num > 3 * trained  # weights, their two moments, counters
        assert gradients == ["all_reduce", "sum", trained, 1] and numbers == same
    assert seen[0]["graphs"] == seen[1]["graphs"]
    assert len(seen[0]["graphs"]) == 5  # features of a step and of an evaluation, step, sum, embeddings
    assert (tmp_path / "out" / "0" / "ckpt" / "model.ckpt-3.index").exists()
    assert os.listdir(str(tmp_path / "out" / "1")) == ["train_1.log"]
    assert siamese_network.main([f"--output_path={tmp_path / 'alone'}", "--device=cpu", *common]) == 0
    np.testing.assert_allclose(losses(tmp_path / "out" / "0"), losses(tmp_path / "alone" / "0"), rtol=1e-5)


def test_the_cpu_beside_an_installed_adapter(tmp_path, look_alike_folder, capfd):
    with fakes.installed("hicann", "npu_device") as process:
        assert train(look_alike_folder, tmp_path, "--device=cpu") == 0
        assert process.openings == []
    assert "Device: cpu" in capfd.readouterr().out


@pytest.mark.parametrize("flags, message", [
    (["--over_dump", "--data_dump_flag"], "exclude each other"),
    (["--use_mixlist", "--precision_mode=force_fp16"], "--use_mixlist changes the lists of a mixed mode"),
    (["--use_mixlist", "--mixlist_file=no.json"], "--mixlist_file=no.json: no such file"),
])
def test_contradicting_flags_are_refused(tmp_path, look_alike_folder, capfd, flags, message):
    assert train(look_alike_folder, tmp_path / "out", "--device=cpu", *flags) == 2
    assert message in capfd.readouterr().err and not (tmp_path / "out").exists()
