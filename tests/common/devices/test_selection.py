"""The device is what the user would expect, and never quietly another one."""
from __future__ import annotations

import importlib.util
import sys
import types

import pytest

from common import doctor
from common.devices import selection
from common.errors import ZooError


@pytest.fixture
def machine(monkeypatch):
    """Return a function that pretends which adapters and device files there are."""

    def pretend(adapters=(), files=()):
        monkeypatch.setattr(selection, "installed_adapters", lambda: list(adapters))
        monkeypatch.setattr(selection, "device_files", lambda: list(files))

    return pretend


@pytest.mark.parametrize("value, wanted", [(None, "0"), ("", "0"), ("3", "3"), ("card-1", "card-1")])
def test_device_id(value, wanted):
    assert selection.device_id({} if value is None else {"ASCEND_DEVICE_ID": value}) == wanted


@pytest.mark.parametrize("value", ["../x", "a/b", ".", "..", "-1", "a b", "0\n", "$(id)"])
def test_a_device_id_must_be_a_plain_name(value):
    with pytest.raises(ZooError, match="ASCEND_DEVICE_ID"):
        selection.device_id({"ASCEND_DEVICE_ID": value})


def test_auto_without_an_npu_leaves_it_to_tensorflow(machine):
    machine()
    assert selection.choose("auto", {}) == selection.Device("gpu", "0")


def test_auto_takes_the_npu(machine):
    machine(adapters=["npu_device"], files=["/dev/davinci0"])
    assert selection.choose("auto", {"ASCEND_DEVICE_ID": "2"}) == selection.Device("npu", "2", "npu_device")


def test_device_file_without_adapter_is_an_error(machine):
    machine(files=["/dev/davinci0"])
    with pytest.raises(ZooError, match="/dev/davinci0 is there, but neither npu_bridge nor npu_device"):
        selection.choose("auto", {})


def test_npu_without_adapter_is_an_error(machine):
    machine()
    with pytest.raises(ZooError, match="--device=npu"):
        selection.choose("npu", {})


def test_npu_needs_a_number(machine):
    machine(adapters=["npu_bridge"])
    with pytest.raises(ZooError, match="an NPU needs a number"):
        selection.choose("auto", {"ASCEND_DEVICE_ID": "card"})


@pytest.mark.parametrize("requested", ["cpu", "gpu"])
def test_other_devices_on_request_beside_an_npu(machine, requested):
    machine(adapters=["npu_bridge"], files=["/dev/davinci0"])
    environment = {}
    assert selection.choose(requested, environment).kind == requested
    assert environment.get("CUDA_VISIBLE_DEVICES") == ("-1" if requested == "cpu" else None)


def test_adapter_log_lines_are_not_silenced_on_an_npu(machine):
    machine(adapters=["npu_bridge"])
    environment = {}
    selection.choose("auto", environment)
    assert "TF_CPP_MIN_LOG_LEVEL" not in environment


@pytest.mark.parametrize("size, refused", [(None, False), ("", False), ("1", False), ("2", True), ("x", True)])
def test_several_ranks_are_refused_by_single_device_models(size, refused):
    environment = {} if size is None else {"RANK_SIZE": size}
    if not refused:
        selection.require_single_device(environment)
        return
    with pytest.raises(ZooError, match="single-device model"):
        selection.require_single_device(environment)
    with pytest.raises(ZooError, match="CM_WORKER_SIZE=8: single-device model"):
        selection.require_single_device({"CM_WORKER_SIZE": "8"})


@pytest.mark.parametrize("kind, flag, wanted", [
    ("npu", None, "allow_mix_precision"), ("npu", "force_fp16", "force_fp16"),
    ("cpu", "allow_mix_precision", "float32"),
    ("gpu", None, "float32"), ("gpu", "allow_mix_precision", "allow_mix_precision"), ("gpu", "force_fp16", "float32"),
])
def test_precision_in_effect(kind, flag, wanted):
    assert selection.precision_in_effect(selection.Device(kind, "0"), flag, "allow_mix_precision") == wanted


@pytest.mark.parametrize("adapter, tensorflow, python, fits", [
    ("npu_bridge", "1.15.0", (3, 7), True), ("npu_bridge", "1.15.5", (3, 7, 5), True),
    ("npu_bridge", "1.15.5", (3, 6), False), ("npu_bridge", "2.6.5", (3, 7), False),
    ("npu_device", "2.6.5", (3, 7), True), ("npu_device", "2.6.5", (3, 9), True),
    ("npu_device", "2.6.5", (3, 10), False), ("npu_device", "2.4.1", (3, 7), False),
    ("npu_device", "2.21.0", (3, 11), False),
])
def test_pairs_of_adapter_tensorflow_and_python(adapter, tensorflow, python, fits):
    problem = doctor.pairing_problem(adapter, tensorflow, python)
    assert (problem is None) == fits
    assert fits or f"{adapter} is for TensorFlow" in problem and f"not for TensorFlow {tensorflow}" in problem


def test_the_adapter_for_tensorflow_2_13_is_refused_with_the_reason():
    assert "cannot be imported, its loss-scale optimizer" in doctor.pairing_problem("npu_device", "2.13.1", (3, 9))


def test_an_adapter_for_another_tensorflow_is_named(machine, monkeypatch):
    other = "npu_device" if importlib.util.find_spec("tensorflow_core") else "npu_bridge"
    machine(files=["/dev/davinci0"])
    monkeypatch.setitem(sys.modules, other, types.SimpleNamespace(__spec__=object()))
    with pytest.raises(ZooError, match=f"/dev/davinci0 is there, but {other}, which is installed, is for TensorFlow"):
        selection.choose("auto", {})


def test_adapter_failure_gives_reason_and_way_out():
    error = selection.adapter_failure("npu_device", OSError("libge_runner.so: cannot open"))
    assert "libge_runner.so" in str(error) and "--device=cpu" in str(error) and error.status == 1
