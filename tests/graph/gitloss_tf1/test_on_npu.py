"""Git loss on a fake NPU: options arrive, the session is closed, no shape changes on the way."""
from __future__ import annotations

import json
import os

import pytest

from common.graph.compat import tf
from gitloss_tf1 import gitloss
from tests import fakes
from tests.graph.conftest import ADAPTER


def train(folder, output, *flags):
    return gitloss.main([f"--data_path={folder}", f"--output_path={output}", "--batch_size=8", "--train_steps=3",
                         *flags])


def test_a_run(tmp_path, tiny_mnist_folder, monkeypatch, capfd):
    monkeypatch.setenv("ASCEND_DEVICE_ID", "2")
    monkeypatch.setenv("RANK_TABLE_FILE", "/user/config/jobstart_hccl.json")
    with fakes.installed("hicann", ADAPTER) as process:
        assert train(tiny_mnist_folder, tmp_path, "--data_dump_flag", "--data_dump_step=1|3", "--profiling",
                     "--auto_tune") == 0
        (session,) = process.sessions
        assert session.is_closed
        run = tmp_path / "2"
        profile = json.loads(session.parameters.pop("profiling_options"))
        assert session.parameters == {
            "use_off_line": True, "precision_mode": "allow_mix_precision", "enable_dump": True, "dump_mode": "all",
            "dump_path": str(run / "data_dump"), "dump_step": "1|3", "profiling_mode": True, "aoe_mode": "2",
            "work_path": str(run / "tuning")}
        assert profile["output"] == str(run / "profiling")
        steps = [signature for signature in session.signatures if "train_op" in str(signature)]
        assert len(steps) == 1  # every training step has the same shapes: one compilation
    out = capfd.readouterr().out
    assert "Notice: RANK_TABLE_FILE=/user/config/jobstart_hccl.json is ignored: this program uses one device" in out
    assert f"Device: npu | TensorFlow {tf.__version__} | adapter {ADAPTER} | precision allow_mix_precision" in out
    assert os.listdir(str(run / "data_dump")) == []  # on an NPU the adapter dumps, not we
    arguments = json.loads((run / "arguments.json").read_text())
    assert (arguments["identity"]["device"], arguments["adapter"]) == ("npu", ADAPTER)


def test_a_session_on_the_cpu_beside_an_installed_adapter(tmp_path, tiny_mnist_folder, capfd):
    with fakes.installed("hicann", ADAPTER) as process:
        assert train(tiny_mnist_folder, tmp_path, "--device=cpu") == 0
        assert process.sessions == []
    assert "Device: cpu" in capfd.readouterr().out


def test_an_adapter_that_does_not_start_ends_the_program(tmp_path, tiny_mnist_folder, monkeypatch, capfd):
    (tmp_path / ADAPTER).mkdir()
    (tmp_path / ADAPTER / "__init__.py").write_text("raise OSError('libge_runner.so: cannot open')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert train(tiny_mnist_folder, tmp_path / "out") == 1
    error = capfd.readouterr().err
    assert "is installed but does not start" in error and "libge_runner.so" in error and "--device=cpu" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flags, message", [(["--device=npu"], "--device=npu: neither")])
def test_no_npu(tmp_path, tiny_mnist_folder, capfd, flags, message):
    assert train(tiny_mnist_folder, tmp_path / "out", *flags) == 1
    assert message in capfd.readouterr().err
