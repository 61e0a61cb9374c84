"""GPUs: precision and determinism, with a stand-in for TensorFlow's configuration; no GPU is needed."""
from __future__ import annotations

import os
import types

import pytest

from common.devices import selection
from common.devices.selection import Device
from common.errors import ZooError, step_errors
from common.graph.compat import config, tf

GPU, CPU = Device("gpu", "0"), Device("cpu", "0")


class Experimental:
    """What TensorFlow has in config.experimental; `missing` are names that an older version lacks."""

    def __init__(self, capability=(9, 0), gpus=("GPU:0",), missing=()):
        self.tf32, self.deterministic = True, False
        self._capability, self._gpus, self._missing = capability, gpus, missing

    def __getattribute__(self, name):
        if not name.startswith("_") and name in self._missing:
            raise AttributeError(name)
        return object.__getattribute__(self, name)

    def list_physical_devices(self, kind):
        assert kind == "GPU"
        return list(self._gpus)

    def get_device_details(self, physical_gpu):
        assert physical_gpu == "GPU:0"
        return dict(compute_capability=self._capability) if self._capability else {}

    def tensor_float_32_execution_enabled(self):
        return self.tf32

    def enable_tensor_float_32_execution(self, value):
        self.tf32 = value

    def enable_op_determinism(self):
        self.deterministic = True


def tensorflow(**options):
    return types.SimpleNamespace(__version__="2.x", config=types.SimpleNamespace(experimental=Experimental(**options)))


@pytest.mark.parametrize("options, has_tf32", [
    (dict(capability=(9, 0)), True), (dict(capability=(8, 0)), True), (dict(capability=(7, 5)), False),
    (dict(capability=None), True),  # unknown: better to say tf32 than float32
    (dict(missing=("enable_tensor_float_32_execution",)), False),  # TensorFlow 1.15
])
def test_tf32_is_noticed(options, has_tf32):
    assert selection.settle(GPU, "auto", tensorflow(**options)) == Device("gpu", "0", has_tf32=has_tf32)


def test_tf32_that_the_environment_switches_off(monkeypatch):
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    assert not selection.settle(GPU, "auto", tensorflow()).has_tf32


def test_without_a_gpu():
    assert selection.settle(GPU, "auto", tensorflow(gpus=())) == CPU
    assert selection.settle(CPU, "cpu", tensorflow()) == CPU
    with pytest.raises(ZooError, match="--device=gpu: TensorFlow 2.x sees no GPU"):
        selection.settle(GPU, "gpu", tensorflow(gpus=()))


@pytest.mark.parametrize("has_tf32, mode, precision, first_line", [
    (True, None, "tf32", "precision tf32"), (True, "force_fp32", "float32", "precision float32"),
    (True, "allow_mix_precision", "allow_mix_precision", "precision allow_mix_precision"),
    (False, None, "float32", "precision float32"),
])
def test_precision_that_is_said_and_set(has_tf32, mode, precision, first_line):
    device = Device("gpu", "0", has_tf32=has_tf32)
    assert selection.precision_in_effect(device, mode, "of an NPU") == precision
    assert selection.describe(device, "2.x", precision).endswith(first_line)
    experimental = Experimental()
    selection.prepare_gpu(device, precision, False, experimental)
    assert experimental.tf32 == (precision == "tf32") and not experimental.deterministic


def test_determinism_of_every_tensorflow(monkeypatch):
    for name in ("TF_DETERMINISTIC_OPS", "TF_CUDNN_DETERMINISTIC"):
        monkeypatch.setenv(name, "0")
    new, old = Experimental(), Experimental(missing=("enable_op_determinism",))
    selection.prepare_gpu(GPU, "float32", True, new)
    assert new.deterministic and os.environ["TF_DETERMINISTIC_OPS"] == "0"
    selection.prepare_gpu(GPU, "float32", True, old)
    assert os.environ["TF_DETERMINISTIC_OPS"] == os.environ["TF_CUDNN_DETERMINISTIC"] == "1"


def test_a_cpu_is_left_as_it_is():
    experimental = Experimental()
    selection.prepare_gpu(CPU, "float32", True, experimental)
    assert experimental.tf32 and not experimental.deterministic


def test_tensorflow_s_own_switch():
    if not hasattr(config.experimental, "tensor_float_32_execution_enabled"):
        pytest.skip("TensorFlow 1.15 has no TF32")
    before = config.experimental.tensor_float_32_execution_enabled()
    try:
        selection.prepare_gpu(GPU, "float32", False, config.experimental)
        assert not config.experimental.tensor_float_32_execution_enabled()
    finally:
        config.experimental.enable_tensor_float_32_execution(before)


def test_an_operation_without_deterministic_form_is_one_line():
    def fail(message):
        with step_errors(tf.errors):
            raise tf.errors.UnimplementedError(None, None, message)

    with pytest.raises(ZooError, match="^--deterministic: .*SparseFoo.*; train without the flag$"):
        fail("A deterministic GPU implementation of SparseFoo is not available.\n\t [[node]]")
    with pytest.raises(tf.errors.UnimplementedError, match="grouped"):
        fail("The Conv2D op does not support grouped convolutions on the CPU.")
