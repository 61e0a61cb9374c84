"""SA-Siam on a fake NPU: options arrive, sessions are closed, no shape changes on the way."""
from __future__ import annotations

import json
import os
import shutil

import pytest

from common.graph.compat import tf
from sa_siam_tf1 import evaluate, train_siamese_model
from sa_siam_tf1.inference import track
from tests import fakes
from tests.graph.conftest import ADAPTER
from tests.results import rows

pytestmark = pytest.mark.usefixtures("narrow")


def test_a_run(tmp_path, tiny_videos, monkeypatch, capfd):
    monkeypatch.setenv("ASCEND_DEVICE_ID", "2")
    with fakes.installed("hicann", ADAPTER) as process:
        assert train_siamese_model.main([f"--data_path={tiny_videos}", f"--output_path={tmp_path}", "--batch_size=1",
                                         "--steps=2", "--data_dump_flag", "--data_dump_step=1",
                                         "--loss_scale=1024"]) == 0
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
        assert len(steps) == 1  # every training step has the same shapes: one compilation
    out = capfd.readouterr().out
    assert f"Device: npu | TensorFlow {tf.__version__} | adapter {ADAPTER} | precision allow_mix_precision" in out
    assert os.listdir(str(run / "data_dump")) == []  # on an NPU the adapter dumps, not we


def test_tracking_and_evaluation(tmp_path, tiny_videos, appearance_run, semantic_run, capfd):
    """Frames of one size are one compilation of the template and one of the search."""
    (tmp_path / "weights").symlink_to(appearance_run / "0" / "ckpt")  # in no run: others count what is in it
    weights = [f"--checkpoint={tmp_path / 'weights' / 'model.ckpt-2'}", f"--semantic_checkpoint={semantic_run / '0'}",
               f"--output_path={tmp_path}"]
    sequence, drawn = tmp_path / "Short", tiny_videos / "OTB" / "Drawn1"
    (sequence / "img").mkdir(parents=True)
    for number in (1, 2):
        shutil.copy(str(drawn / "img" / f"{number:04d}.jpg"), str(sequence / "img"))
    truth = (drawn / "groundtruth_rect.txt").read_text().splitlines(keepends=True)
    (sequence / "groundtruth_rect.txt").write_text("".join(truth[:2]))
    with fakes.installed("hicann", ADAPTER) as process:
        assert track.main([f"--sequence={sequence}", "--annotate=none", *weights]) == 0
        assert f"Device: npu | TensorFlow {tf.__version__} | adapter {ADAPTER} | precision allow_mix_precision" in (
            capfd.readouterr().out)
        assert evaluate.main([f"--data_path={sequence}", "--baselines=false", "--json", *weights]) == 0
        assert json.loads(capfd.readouterr().out)["branch"] == "both"
        assert len(process.sessions) == 2
        for session in process.sessions:
            assert session.is_closed
            assert session.parameters == {"use_off_line": True, "precision_mode": "allow_mix_precision"}
            fed = [signature for signature in session.signatures if "frame" in str(signature)]
            assert len(fed) == 2
