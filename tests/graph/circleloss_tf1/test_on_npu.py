"""Circle loss on a fake NPU: options arrive, the session is closed, training steps have one shape."""
from __future__ import annotations

import os

import pytest

from circleloss_tf1 import train_acc
from common.graph.compat import tf
from tests import fakes
from tests.graph.conftest import ADAPTER
from tests.results import rows

pytestmark = pytest.mark.usefixtures("one_block")


def test_a_run(tmp_path, tiny_faces_folder, monkeypatch, capfd):
    monkeypatch.setenv("ASCEND_DEVICE_ID", "2")
    with fakes.installed("hicann", ADAPTER) as process:
        assert train_acc.main([f"--data_path={tiny_faces_folder}", f"--output_path={tmp_path}", "--batch_size=4",
                               "--train_steps=3", "--model_def=models.resnet10", "--recipe=corrected",
                               "--image_size=32", "--data_dump_flag",
                               "--data_dump_step=1"]) == 0
        (session,) = process.sessions
        assert session.is_closed
        run = tmp_path / "2"
        assert session.parameters == {
            "use_off_line": True, "precision_mode": "allow_mix_precision", "enable_dump": True, "dump_mode": "all",
            "dump_path": str(run / "data_dump"), "dump_step": "1"}
        steps = [signature for signature in session.signatures if "train_op" in str(signature)]
        assert process.loss_scales == ([(2 ** 32, 1000, 2, 2, 0.5)] if ADAPTER == "npu_bridge" else [])
        scales = {row.get("loss_scale") for row in rows(run, "step")}
        assert scales == ({2.0 ** 32} if ADAPTER == "npu_bridge" else {None})
        assert len(steps) == 1
    assert f"Device: npu | TensorFlow {tf.__version__} | adapter {ADAPTER}" in capfd.readouterr().out
    assert os.listdir(str(run / "data_dump")) == []
