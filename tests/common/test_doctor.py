"""The doctor says what runs here and what to do about the rest."""
from __future__ import annotations

import json
import os
import sys

import pytest

from common import doctor
from common.devices import selection
from common.devices.selection import Device
from common.errors import ZooError
from tests import fakes


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
    assert "old_model: can run: bash old_model/test/train_full_1p.sh" in out
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


# an NPU host


@pytest.fixture
def host(tmp_path, monkeypatch):
    """An NPU host on which all is well; returns the folder that its adapter and HCCL are installed in."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", fakes.environment(str(folder), "hicann", "npu_device")["PYTHONPATH"])
    monkeypatch.setenv("ASCEND_OPP_PATH", "/opp")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(selection, "device_files", lambda: ["/dev/davinci0", "/dev/davinci1"])
    monkeypatch.setattr(sys, "version_info", (3, 9, 0))
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "hccl"]:
        del sys.modules[name]


def problems(adapter="npu_device", tensorflow="2.6.5", device="0"):
    return doctor.npu_problems(Device("npu", device, adapter), tensorflow, os.environ)


def test_a_host_on_which_all_is_well(host):
    assert problems() == []


def test_a_pair_that_does_not_fit(host):
    (problem,) = problems(tensorflow="2.13.1")
    assert problem.startswith("npu_device is for TensorFlow 2.6.5") and "loss-scale optimizer" in problem


@pytest.mark.parametrize("files, visible, device, text", [
    ([], None, "0", "there is no /dev/davinci0 or any other: load the driver"),
    (["/dev/davinci0"], None, "3", "ASCEND_DEVICE_ID=3: there is no /dev/davinci3, only /dev/davinci0"),
    (["/dev/davinci4"], "4", "0", None),
])
def test_device_files(host, monkeypatch, files, visible, device, text):
    monkeypatch.setattr(selection, "device_files", lambda: files)
    if visible:
        monkeypatch.setenv("ASCEND_RT_VISIBLE_DEVICES", visible)
    found = problems(device=device)
    assert [text in problem for problem in found] == ([True] if text else [])


def test_an_environment_that_was_not_set_up(host, monkeypatch):
    monkeypatch.delenv("ASCEND_OPP_PATH")
    (problem,) = problems()
    assert "/usr/local/Ascend/cann/set_env.sh" in problem and "/usr/local/Ascend/ascend-toolkit/set_env.sh" in problem


def test_the_rank_table_and_hccl_are_checked(host, monkeypatch, tmp_path):
    for name, value in dict(RANK_SIZE="2", RANK_ID="0", RANK_TABLE_FILE=str(tmp_path / "table.json")).items():
        monkeypatch.setenv(name, value)
    (problem,) = problems()
    assert problem == f"RANK_TABLE_FILE={tmp_path / 'table.json'}: No such file or directory; give HCCL's rank table"
    cards = [dict(device_id=str(card), rank_id=str(rank)) for rank, card in enumerate((3, 4))]
    (tmp_path / "table.json").write_text(json.dumps(dict(server_list=[dict(device=cards)])))
    assert problems() == []
    monkeypatch.setattr(doctor.selection, "find_product", lambda requested: "910A")
    assert problems() == ["on Ascend 910A 2 processes stay within cards 0 to 3 or 4 to 7, not cards 3, 4"]


def test_hccl_that_cannot_be_imported(host, monkeypatch):
    (host / "hccl").unlink()
    (host / "hccl").mkdir()
    (host / "hccl" / "__init__.py").write_text("raise OSError('libhccl.so: cannot open')")
    monkeypatch.setattr(sys, "version_info", (3, 7, 0))
    (problem,) = problems("npu_bridge", "1.15.5")
    assert "hccl.manage.api, which npu_bridge needs, cannot be imported (OSError: libhccl.so: cannot open)" in problem
    assert problems() == []  # npu_device needs it for several ranks alone


def test_the_environment_that_adapters_read_is_shown(model_root, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "_settled", lambda device, requested: "cpu 0")
    for name in ("CM_CHIEF_IP", "HCCL_CONNECT_TIMEOUT", "ASCEND_RT_VISIBLE_DEVICES", "DEVICE_ID", "AOE_MODE",
                 "ASCEND_GLOBAL_LOG_LEVEL", "ENABLE_HF32_EXECUTION", "NPU_LOOP_SIZE", "ASCEND_OPP_PATH"):
        monkeypatch.setenv(name, "7")
        expected = f"{name}=7"
        assert doctor.main([]) == 0
        assert expected in capsys.readouterr().out


def test_problems_of_the_host_are_printed_and_no_device_is_opened(model_root, host, monkeypatch, capsys):
    monkeypatch.setattr(selection, "installed_adapters", lambda: ["npu_device"])
    monkeypatch.setattr(selection, "device_files", list)
    monkeypatch.setattr(doctor, "_settled", lambda *_: pytest.fail("it is opened"))
    assert doctor.main([]) == 1
    out = capsys.readouterr().out
    assert "Product      unknown" in out and "Problem      there is no /dev/davinci0" in out


def has_tensorflow_2():
    return doctor.importlib.util.find_spec("tensorflow_core") is None


@pytest.mark.skipif(not has_tensorflow_2(), reason="npu_device is for TensorFlow 2")
def test_an_npu_is_opened_as_keras_models_do(host, monkeypatch):
    doctor._open_eagerly(Device("npu", "0", "npu_device"))
    monkeypatch.setenv("ZOO_FAKE_ADAPTER", "tf2.13")
    with pytest.raises(ZooError, match="opening NPU 0 for Keras models: npu_device is installed but does not start"):
        doctor._open_eagerly(Device("npu", "0", "npu_device"))
