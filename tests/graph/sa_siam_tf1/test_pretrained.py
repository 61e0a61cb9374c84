"""caffenet.npy and .mat: values arrive where they belong, and nothing in the files is executed."""
from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import scipy.io

from common.data import plain_pickle
from common.errors import ZooError
from sa_siam_tf1 import pretrained, train_siamese_model
from sa_siam_tf1.configuration import KERNELS
from tests.graph.sa_siam_tf1.conftest import caffenet_layers, train
from tests.results import last_variables


def test_caffenet(caffenet):
    layers, values = caffenet_layers(), pretrained.load_caffenet(str(caffenet))
    assert len(values) == 16
    conv3 = values["sa_siam/semantic_net/conv3/weights"]
    assert np.array_equal(conv3, layers["conv3"]["weights"])
    halves = [values[f"sa_siam/semantic_net/conv4/b{number}/weights"] for number in (1, 2)]
    assert [half.shape for half in halves] == [(3, 3, 192, 192)] * 2
    assert np.array_equal(np.concatenate(halves, axis=3), layers["conv4"]["weights"])
    assert np.array_equal(values["sa_siam/semantic_net/conv2/b2/biases"], layers["conv2"]["biases"][128:])


def test_caffenet_of_python_2(tmp_path):
    """Protocol 2 with byte strings as keys, as numpy wrote it on Python 2."""
    content = np.array({name.encode(): {key.encode(): value for key, value in layer.items()}
                        for name, layer in caffenet_layers().items()}, dtype=object)
    path = tmp_path / "old.npy"
    with open(str(path), "wb") as file:
        np.lib.format.write_array_header_1_0(file, dict(descr="|O", fortran_order=False, shape=()))
        pickle.dump(content, file, protocol=2)
    assert len(pretrained.load_caffenet(str(path))) == 16


class Evil:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


@pytest.mark.parametrize("change, message", [
    (lambda layers: layers.pop("conv5"), "conv5 weights is missing"),
    (lambda layers: layers["conv1"].update(weights=np.zeros((3, 3, 3, 96), np.float32)), r"conv1 weights is \[3, 3"),
    (lambda layers: layers["conv1"].update(biases=["a"]), "conv1 biases is missing or no array"),
    (lambda layers: layers["conv1"].update(biases=np.full(96, np.nan)), "not finite"),
    (lambda layers: layers.update(conv1=3), "expected a dict of layers"),
    (lambda layers: layers.update(x=Evil()), "mkdir"),
    (lambda layers: layers["conv1"].update(weights=Evil()), "mkdir"),
])
def test_bad_caffenets_are_refused(tmp_path, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    layers = caffenet_layers()
    change(layers)
    np.save(str(tmp_path / "bad.npy"), layers)
    with pytest.raises(ZooError, match=f"bad.npy: .*{message}"):
        pretrained.load_caffenet(str(tmp_path / "bad.npy"))
    assert not (tmp_path / "pwned").exists()


class Made:
    """Is pickled as a call of a function, and a state for what it returns."""

    def __init__(self, function, arguments, state):
        self.parts = function, arguments, state

    def __reduce__(self):
        return self.parts


def hostile(shape=(1,), dtype=None, data=b"A" * 8, code="f8", dtype_state=(3, "<", None, None, None, -1, -1, 0)):
    """An array as numpy pickles it, but for the parts that are given."""
    rebuild, arguments, _ = np.zeros(1).__reduce__()
    dtype = Made(np.dtype, (code, False, True), dtype_state) if dtype is None else dtype
    return Made(rebuild, arguments, (1, shape, dtype, False, data))


OBJECT_FIELD = (3, "|", None, ("x",), {"x": (np.dtype("O"), 0)}, 8, 1, 27)


@pytest.mark.parametrize("weights, message", [
    (hostile(code="V8", dtype_state=OBJECT_FIELD), "not of numbers"),  # an object at an address that the file chose
    (hostile(dtype_state=OBJECT_FIELD), "has fields"),
    (hostile(dtype_state=(3, "<", (np.dtype("O"), (1,)), None, None, -1, -1, 0)), "has fields, a base"),
    (hostile(dtype_state={"code": "O"}), "has fields"),
    (hostile(code="O8"), "holds more or less than one object"),
    (hostile(shape=(), code="O8", data=[]), "holds more or less than one object"),  # numpy reads past its end
    (hostile(shape=(), code="O8", data=[1, 2]), "holds more or less than one object"),
    (hostile(dtype="f8"), "not of the form that numpy writes"),
    (hostile(shape=(1 << 40,)), "ValueError"),
    (hostile(shape=(-1,)), "an invalid shape"),
    (hostile(data=[b"A" * 8]), "content of an array is not bytes"),
    (Made(np.zeros(1).__reduce__()[0], (dict, (0,), b"b"), None), "asks for builtins.dict"),
    (Made(np.dtype, ("M8[us]", False, True), (4, "<", None, None, None, -1, -1, 0)), "not of numbers"),
])
def test_arrays_that_numpy_never_wrote_are_refused(tmp_path, weights, message):
    layers = np.empty((), object)
    layers[()] = dict(conv1=dict(weights=weights))
    np.save(str(tmp_path / "bad.npy"), layers)
    with pytest.raises(ZooError, match=f"bad.npy: not a readable pickle of plain data .*{message}"):
        pretrained.load_caffenet(str(tmp_path / "bad.npy"))


def test_arrays_of_every_kind_arrive(tmp_path):
    arrays = {code: np.arange(-3, 9).reshape(3, 4).astype(code) for code in ("<f4", ">f4", "f2", ">i8", "u1", "?")}
    arrays.update(columns=np.asfortranarray(arrays["<f4"]), scalar=np.array(2.5))
    np.save(str(tmp_path / "all.npy"), dict(layer=arrays))
    found = plain_pickle.read_arrays(str(tmp_path / "all.npy"))["layer"]
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array), name


@pytest.mark.parametrize("content, message", [
    (b"\x80\x03K\x01r\xff\xff\xff\x7fa.", "Error"),  # places for all values up to this one would take 34 GB
    (b"\x80\x05\x96" + b"\xff" * 6 + b"\x00\x00A.", "(MemoryError|unsupported|KeyError)"),  # a bytearray of 256 TB
    (b"\x80\x03" + 100_000 * b"]" + 99_999 * b"a" + b".", None),
    (b"\x80\x03P0\n.", "persistent id"), (b"\x80\x03]", "EOFError"),
])
def test_pickles_that_ask_for_too_much_are_refused(tmp_path, content, message):
    (tmp_path / "bad.pickle").write_bytes(content)
    if message is None:
        assert len(plain_pickle.read_plain(str(tmp_path / "bad.pickle"))) == 1
        return
    with pytest.raises(ZooError, match=f"bad.pickle: not a readable pickle of plain data.*{message}"):
        plain_pickle.read_plain(str(tmp_path / "bad.pickle"))


@pytest.mark.parametrize("content, message", [
    (b"c_codecs\nencode\n}U\x01aK\x01sb.", "AttributeError"), (b"cnumpy\ndtype\n}U\x01aK\x01sb.", "TypeError"),
    (b"cnumpy\nndarray\nN}U\x0c__setstate__K\x01s\x86b.", "TypeError"),
])
def test_the_state_of_functions_and_classes_is_not_set(tmp_path, content, message):
    with open(str(tmp_path / "bad.npy"), "wb") as file:
        np.lib.format.write_array_header_1_0(file, dict(descr="|O", fortran_order=False, shape=()))
        file.write(b"\x80\x02" + content)
    with pytest.raises(ZooError, match=f"bad.npy: not a readable pickle of plain data .{message}"):
        plain_pickle.read_arrays(str(tmp_path / "bad.npy"))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY", b"\x93NUMPY\x01\x00\x10\x00{'descr'",
                                     b"\x93NUMPY\x02\x00\xff\xff\xff\x00" + 400_000 * b"-" + b"1", pickle.dumps({})])
def test_files_that_are_not_npy_are_refused(tmp_path, content):
    (tmp_path / "no.npy").write_bytes(content)
    with pytest.raises(ZooError, match="no.npy: "):
        pretrained.load_caffenet(str(tmp_path / "no.npy"))


def test_damaged_and_plain_npy_are_refused(tmp_path, caffenet):
    content = caffenet.read_bytes()
    (tmp_path / "cut.npy").write_bytes(content[:len(content) // 2])
    np.save(str(tmp_path / "plain.npy"), np.zeros(3))
    with pytest.raises(ZooError, match=r"cut\.npy: not a readable pickle of plain data"):
        pretrained.load_caffenet(str(tmp_path / "cut.npy"))
    with pytest.raises(ZooError, match=r"plain\.npy: holds an array float64 \(3,\)"):
        pretrained.load_caffenet(str(tmp_path / "plain.npy"))


def test_the_semantic_branch_keeps_the_weights_it_was_given(narrow, narrow_caffenet, semantic_run):
    values = last_variables(semantic_run / "0")
    for name, wanted in pretrained.load_caffenet(str(narrow_caffenet)).items():
        assert np.array_equal(values[name], wanted), name
    assert values["train/global_step"] == 2
    assert not np.array_equal(values["sa_siam/semantic_net/c1x1_conv5/biases"], np.zeros(128))


def imported_weights(*arguments):
    flags = train_siamese_model.define_flags().parse(["--branch=semantic", *arguments])
    return pretrained.choose(flags, "semantic", "/no/data", flags.init_checkpoint)


def test_a_checkpoint_with_the_trunk_needs_no_caffenet(narrow, tmp_path, tiny_videos, semantic_run, appearance_run,
                                                       capfd):
    first = str(semantic_run / "0" / "ckpt" / "model.ckpt-2")
    assert imported_weights(f"--init_checkpoint={first}") == pretrained.Imported({}, [])
    notice = "Warning: --caffenet has no effect: the trunk comes from --init_checkpoint"
    assert imported_weights(f"--init_checkpoint={first}", "--caffenet=random") == pretrained.Imported({}, [notice])
    with pytest.raises(ZooError, match="needs the weights of CaffeNet"):
        imported_weights(f"--init_checkpoint={appearance_run / '0' / 'ckpt' / 'model.ckpt-2'}")

    assert train(tiny_videos, tmp_path, "--branch=semantic", f"--init_checkpoint={first}", "--steps=1",
                 "--batch_size=1", "--performance") == 0
    out = capfd.readouterr().out
    assert "UNTRAINED" not in out and "Not loaded" not in out
    before, after = last_variables(semantic_run / "0"), last_variables(tmp_path / "0")
    trunk = [name for name in after if "semantic_net/conv" in name]
    assert len(trunk) == 16 and all(np.array_equal(before[name], after[name]) for name in trunk)
    heads = "sa_siam/semantic_net/c1x1_conv5/weights"
    assert 0 < np.abs(after[heads] - before[heads]).max() < 0.01  # one update away, not drawn anew
    assert after["train/global_step"] == 1


def test_a_part_of_the_trunk_is_not_the_trunk(caffenet):
    shapes = {name: list(value.shape) for name, value in pretrained.load_caffenet(str(caffenet)).items()}
    assert pretrained.holds_trunk(shapes)
    assert not pretrained.holds_trunk(dict(shapes, **{"sa_siam/semantic_net/conv4/b2/biases": [96]}))
    del shapes["sa_siam/semantic_net/conv1/weights"]
    assert not pretrained.holds_trunk(shapes)


def mat_parameters(random):
    parameters = {}
    for number, (layer, shape) in enumerate(KERNELS.items(), 1):
        channels = shape[-1]
        parameters[f"{layer}f"] = (0.02 * random.standard_normal(shape)).astype(np.float32)
        parameters[f"{layer}b"] = random.standard_normal((channels, 1)).astype(np.float32)
        if number < 5:
            parameters[f"bn{number}m"] = random.standard_normal((channels, 1)).astype(np.float32)
            parameters[f"bn{number}b"] = random.standard_normal((channels, 1)).astype(np.float32)
            parameters[f"bn{number}x"] = random.uniform(1, 2, (channels, 2)).astype(np.float32)
    parameters["adjust_f"], parameters["adjust_b"] = np.float32([[0.001]]), np.float32([[-3.5]])
    return parameters


def save_mat(path, parameters):
    entries = np.array([(name, value) for name, value in parameters.items()], dtype=[("name", "O"), ("value", "O")])
    scipy.io.savemat(str(path), {"net": {"params": entries.reshape(1, -1)}})


def test_mat(tmp_path):
    parameters = mat_parameters(np.random.RandomState(0))
    save_mat(tmp_path / "net.mat", parameters)
    values = pretrained.load_mat(str(tmp_path / "net.mat"))
    scope = "sa_siam/appearance_net"
    assert len(values) == 36 - 1  # all variables but the step
    assert np.array_equal(values[f"{scope}/conv1/weights"], parameters["conv1f"])
    assert np.array_equal(values[f"{scope}/conv2/b2/BatchNorm/gamma"], parameters["bn2m"][128:, 0])
    assert np.array_equal(values[f"{scope}/conv3/BatchNorm/beta"], parameters["bn3b"][:, 0])
    np.testing.assert_allclose(values[f"{scope}/conv4/b1/BatchNorm/moving_variance"],
                               parameters["bn4x"][:192, 1] ** 2, rtol=1e-6)
    assert np.array_equal(values[f"{scope}/conv5/b2/biases"], parameters["conv5b"][128:, 0])
    assert values["detection/biases"].tolist() == [-3.5]


def test_bad_mats_are_refused(tmp_path):
    (tmp_path / "no.mat").write_bytes(b"MATLAB, no")
    with pytest.raises(ZooError, match=r"no\.mat: begins with b'MATLAB, no'"):
        pretrained.load_mat(str(tmp_path / "no.mat"))
    parameters = mat_parameters(np.random.RandomState(0))
    del parameters["bn2x"]
    save_mat(tmp_path / "few.mat", parameters)
    with pytest.raises(ZooError, match=r"few\.mat: bn2x is missing"):
        pretrained.load_mat(str(tmp_path / "few.mat"))
    content = (tmp_path / "few.mat").read_bytes()
    (tmp_path / "cut.mat").write_bytes(content[:len(content) // 2])
    with pytest.raises(ZooError, match=r"cut\.mat: is not a readable \.mat file"):
        pretrained.load_mat(str(tmp_path / "cut.mat"))
    scipy.io.savemat(str(tmp_path / "other.mat"), {"x": np.zeros(3)})
    with pytest.raises(ZooError, match=r"other\.mat: is not a readable \.mat file"):
        pretrained.load_mat(str(tmp_path / "other.mat"))
