"""The doctor says what runs here and what to do about the rest."""
from __future__ import annotations

import sys

import pytest

from common import doctor
from common.devices import selection


@pytest.fixture
def model_root(tmp_path, monkeypatch):
    """A repository with two models."""
    for name, minimum in (("old_model", "1.15"), ("new_model", "99.0")):
        (tmp_path / name).mkdir()
        (tmp_path / name / doctor.LEVEL_FILE).write_text(f"FuncStatus:OK\nMinTensorFlow:{minimum}\n")
    monkeypatch.setattr(doctor, "ROOT", str(tmp_path))
    monkeypatch.setattr(doctor, "_tensorflow", lambda: ("2.6.5", ""))


def test_models_by_version(model_root, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "_settled", lambda device, requested: "cpu 3")
    monkeypatch.setenv("ASCEND_DEVICE_ID", "3")
    assert doctor.main([]) == 0
    out = capsys.readouterr().out
    assert "old_model: can run, bash old_model/test/train_full_1p.sh" in out
    assert "new_model: cannot run, it needs TensorFlow 99.0 or newer" in out
    assert "TensorFlow   2.6.5" in out and "ASCEND_DEVICE_ID=3" in out


def test_missing_tensorflow(model_root, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "_tensorflow", lambda: (None, "is not installed"))
    assert doctor.main([]) == 1
    assert "Problem      TensorFlow is not installed: run 'make setup'" in capsys.readouterr().out


def test_device_without_adapter(model_root, monkeypatch, capsys):
    monkeypatch.setattr(selection, "device_files", lambda: ["/dev/davinci0"])
    assert doctor.main([]) == 1
    assert "Problem      /dev/davinci0 is there" in capsys.readouterr().out


def test_missing_packages_are_named_without_them(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "REQUIRED", {"no_such_module": "no-such-package"})
    assert doctor.main([]) == 1
    assert f"{sys.executable} lacks no-such-package" in capsys.readouterr().err
