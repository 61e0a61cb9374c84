"""ONNX export without its packages, and of what cannot be converted."""
from __future__ import annotations

import importlib.util

import pytest

from common.checkpoints import onnx_model
from common.errors import ZooError
from gitloss_tf1 import export
from tests.conftest import needs_onnx


def test_missing_packages_are_named_before_anything_is_read(monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tf2onnx" else find(name))
    monkeypatch.setattr(onnx_model, "_NEEDED", ("tf2onnx", "numpy"))
    assert export.main(["--onnx", "--checkpoint=/no/such"]) == 1
    assert capsys.readouterr().err == (
        "[Error] --onnx needs tf2onnx: pip install -r requirements-onnx.txt, with Python 3.10 or newer\n")


@needs_onnx
def test_what_cannot_be_converted_is_named_in_one_line(tmp_path):
    (tmp_path / "saved_model").mkdir()
    with pytest.raises(ZooError, match=r"saved_model: tf2onnx cannot convert it to ONNX \(.*saved_model.pb") as raised:
        onnx_model.convert(str(tmp_path / "saved_model"), str(tmp_path / "net.onnx"))
    assert "\n" not in str(raised.value)
