"""The backbone's file: found by path, checked, read as data, never written anywhere else."""
from __future__ import annotations

import os

import numpy as np
import pytest

from common.errors import ZooError
from siamese_triplet_tf2 import pretrained
from siamese_triplet_tf2.model import build_embedding, variable_names
from tests.keras.weight_files import write


@pytest.fixture
def values(tiny):
    random = np.random.RandomState(0)
    return {name: random.randn(*variable.shape).astype(np.float32)
            for name, variable in zip(variable_names(tiny.whole), tiny.whole.weights)
            if not name.startswith(("dense", "batch_normalization"))}


@pytest.mark.parametrize("options", [{}, {"whole_model": True}, {"suffix": ""}])
def test_loads_the_backbone_and_leaves_the_head(tmp_path, values, options):
    model = build_embedding("tiny", seed=1)
    head = np.asarray(model.whole.get_layer("dense").kernel).copy()
    pretrained.load(model.whole, write(str(tmp_path / "w.h5"), values, **options))
    for name, variable in zip(variable_names(model.whole), model.whole.weights):
        if name in values:
            assert np.array_equal(variable, values[name])
    assert np.array_equal(model.whole.get_layer("dense").kernel, head)


@pytest.mark.parametrize("change, message", [
    (lambda values: values.pop("conv1_conv/bias"), "conv1_conv/bias is missing"),
    (lambda values: [values.pop(f"conv1_conv/{part}") for part in ("kernel", "bias")], "conv1_conv/kernel is missing"),
    (lambda values: values.update({"conv1_conv/kernel": np.zeros((3, 3, 3, 9), np.float32)}),
     r"conv1_conv/kernel is of shape \(3, 3, 3, 9\), expected \(3, 3, 3, 8\)"),
])
def test_another_layout_is_refused_by_name(tmp_path, tiny, values, change, message):
    change(values)
    before = [np.asarray(variable).copy() for variable in tiny.whole.weights]
    with pytest.raises(ZooError, match=f"w.h5: .*{message}.*{pretrained.MD5}.*--weights=PATH"):
        pretrained.load(tiny.whole, write(str(tmp_path / "w.h5"), values))
    assert all(np.array_equal(old, variable) for old, variable in zip(before, tiny.whole.weights))


@pytest.mark.parametrize("content", [b"", b"no hdf5 at all", None])
def test_a_damaged_file_is_one_line(tmp_path, tiny, values, content):
    path = write(str(tmp_path / "w.h5"), values)
    if content is None:
        os.truncate(path, os.path.getsize(path) // 2)
    else:
        with open(path, "wb") as file:
            file.write(content)
    with pytest.raises(ZooError, match="damaged, or not a weights file of Keras") as caught:
        pretrained.load(tiny.whole, path)
    assert "\n" not in str(caught.value)


def test_where_the_file_is_looked_for(tmp_path):
    data = tmp_path / "totally_looks_like"
    for folder in (data / "model", tmp_path / "model"):
        folder.mkdir(parents=True)
    with pytest.raises(ZooError, match=f"model/{pretrained.FILE_NAME}: no such file; get .*{pretrained.MD5}.*"
                                       "--weights=none"):
        pretrained.find(None, str(data), "resnet50")
    (tmp_path / "model" / pretrained.FILE_NAME).write_bytes(b"x")
    assert pretrained.find(None, str(data), "resnet50") == str(tmp_path / "model" / pretrained.FILE_NAME)
    (data / "model" / pretrained.FILE_NAME).write_bytes(b"x")
    assert pretrained.find(None, str(data), "resnet50") == str(data / "model" / pretrained.FILE_NAME)
    assert pretrained.find("none", str(data), "resnet50") is None
    assert pretrained.find(None, str(data), "tiny") is None
    with pytest.raises(ZooError, match="no/such.h5: no such file"):
        pretrained.find("/no/such.h5", str(data), "tiny")


def test_random_weights_are_announced():
    assert "smoke tests" in pretrained.notices(None, "tiny")[0]
    assert "its frozen part stays random" in pretrained.notices(None, "resnet50")[0]
    assert pretrained.notices("/x.h5", "resnet50") == []
