"""Exports of Keras models are what users run, or an error."""
from __future__ import annotations

import json
import os

import numpy as np
import pytest
import tensorflow as tf

from common.checkpoints import exporting, onnx_model
from common.errors import ZooError
from common.keras import export
from tests.conftest import needs_onnx

SHAPES = {"images": (8, 8, 3)}


@pytest.fixture
def model():
    images = tf.keras.layers.Input(SHAPES["images"])
    return tf.keras.Model(images, tf.keras.layers.Conv2D(4, 3, 2, padding="same")(images))


def write(model, folder, onnx=False):
    return export.export(lambda images: {"maps": model(images, training=False)}, SHAPES, model,
                         exporting.Target(str(folder), "net", onnx))


def test_the_default_interpreter_computes_the_same(model, tmp_path):
    result = write(model, tmp_path)
    images = np.random.RandomState(1).rand(3, 8, 8, 3).astype(np.float32)
    maps = tf.lite.Interpreter(result["tflite"]).get_signature_runner("serving_default")(images=images)["maps"]
    np.testing.assert_allclose(maps, model(images).numpy(), atol=1e-5)


def test_a_default_interpreter_that_fails_is_an_error_after_everything_is_written(model, tmp_path, monkeypatch):
    run = export._run_lite

    def with_broken_delegate(path, samples, delegates=False):
        outputs = run(path, samples)
        return {name: 0 * values for name, values in outputs.items()} if delegates else outputs

    monkeypatch.setattr(export, "_run_lite", with_broken_delegate)
    with pytest.raises(ZooError, match="net.tflite: the default interpreter of TensorFlow .* fails on this machine"):
        write(model, tmp_path)
    with open(os.path.join(str(tmp_path), "export.json"), encoding="utf-8") as file:
        assert json.load(file)["outputs"] == ["maps"]


@needs_onnx
def test_an_onnx_model_is_checked_and_removed_by_the_next_export(model, tmp_path, monkeypatch):
    """One that computes something else is an error, and not kept; then the export can be repeated."""
    with monkeypatch.context() as patch:
        run = onnx_model.run
        patch.setattr(onnx_model, "run", lambda path, inputs: {
            name: 1.001 * values for name, values in run(path, inputs).items()})
        with pytest.raises(ZooError, match=r"net\.onnx: maps differs from the live network by .*, its largest value "):
            write(model, tmp_path, onnx=True)
    assert sorted(os.listdir(str(tmp_path))) == ["export.json", "net.tflite", "saved_model"]

    begun = []
    monkeypatch.setattr(exporting.Stages, "begin", lambda shown, name: begun.append((name, shown._total)))
    result = write(model, tmp_path, onnx=True)
    assert begun == [(name, 4) for name in ("SavedModel", "TFLite model", "check", "ONNX model")]
    assert result["onnx_max_difference"] < 1e-5 and sorted(os.listdir(str(tmp_path))) == [
        "export.json", "net.onnx", "net.tflite", "saved_model"]
    images = np.random.RandomState(1).rand(3, 8, 8, 3).astype(np.float32)
    np.testing.assert_allclose(onnx_model.run(result["onnx"], dict(images=images))["maps"], model(images).numpy(),
                               atol=1e-5)
    assert "onnx" not in write(model, tmp_path) and not (tmp_path / "net.onnx").exists()
