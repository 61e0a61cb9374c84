"""What all tests share: the real data, tiny data, a clean environment, and graph code apart from Keras code."""
from __future__ import annotations

import gc
import glob
import importlib.util
import os
import platform
import sys
import zipfile

import pytest

from common.tiny_data import faces as tiny_faces
from common.tiny_data import mnist as tiny_mnist
from tests import ROOT

pytest.register_assert_rewrite("tests.programs", "tests.results", "tests.resuming")  # their assertions say values
from tests.programs import RANK_VARIABLES  # noqa: E402 - after the line above

gc.set_threshold(100_000, 20, 20)  # a graph is thousands of objects that live on: looking at them often costs a tenth
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Numbers were recorded with TensorFlow's own kernels. Those of oneDNN, the default on CPUs with AVX512_VNNI, round
# differently, by more than some tolerances of parity.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
IS_DEFAULT_LEG = sys.version_info >= (3, 11)
# for tests that take long and whose result does not depend on the version of TensorFlow
on_the_default_leg = pytest.mark.skipif(not IS_DEFAULT_LEG, reason="does not depend on TensorFlow's version: run on "
                                        "the default leg")
# for tests of every TensorFlow that would make `make test` too long
slow_on_the_default_leg = pytest.mark.slow if IS_DEFAULT_LEG else pytest.mark.filterwarnings()
needs_onnx = pytest.mark.skipif(importlib.util.find_spec("tf2onnx") is None, reason="tf2onnx, which converts to ONNX, "
                                "is not installed; it needs Python 3.10")


def pytest_report_header():
    """Name the leg without importing TensorFlow: the tests of a process decide whether and how it is imported."""
    found = importlib.util.find_spec("tensorflow")
    packages = os.path.dirname(os.path.dirname(found.origin)) if found else ""
    versions = glob.glob(os.path.join(packages, "tensorflow-[0-9]*-info")) if found else []
    versions += glob.glob(os.path.join(packages, "tensorflow_cpu-[0-9]*-info")) if found else []
    names = ", ".join(os.path.basename(path).rpartition(".")[0] for path in versions)
    return f"leg: Python {platform.python_version()}, {names or 'no TensorFlow'}"


def pytest_collection_modifyitems(items):
    kinds = {kind for kind in ("graph", "keras") for item in items
             if f"{os.sep}tests{os.sep}{kind}{os.sep}" in str(item.fspath)}
    if len(kinds) > 1:
        raise pytest.UsageError("graph code and Keras code cannot share a process: run pytest for tests/keras and for "
                                "the rest separately, as tests/run_leg.sh does")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in RANK_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def without_module(monkeypatch):
    """Return a function that makes imports of a module, and of those in it, fail."""

    def hide(name):
        for loaded in [name, *(other for other in sys.modules if other.startswith(f"{name}."))]:
            monkeypatch.setitem(sys.modules, loaded, None)

    return hide


@pytest.fixture(scope="session")
def tiny_mnist_folder(tmp_path_factory):
    """240 + 40 drawn digits."""
    folder = tmp_path_factory.mktemp("tiny") / "mnist"
    tiny_mnist.make(str(folder), num_train=240, num_test=40)
    return str(folder)


@pytest.fixture(scope="session")
def tiny_faces_folder(tmp_path_factory):
    """120 drawn faces of 12 people, and 20 pairs of 6 others."""
    folder = tmp_path_factory.mktemp("tiny") / "faces"
    tiny_faces.make(str(folder))
    return str(folder)


@pytest.fixture(scope="session")
def shared_data(tmp_path_factory):
    """Return a function from a name in the folder of real test data to a path; archives are unpacked.

    The folder is $ZOO_TEST_DATA, else ../shared/data beside the repository; a test whose data is in neither is skipped.
    """
    root = os.environ.get("ZOO_TEST_DATA") or os.path.join(os.path.dirname(ROOT), "shared", "data")

    def find(name):
        path = os.path.join(root, name)
        if not os.path.exists(path):
            pytest.skip(f"no real data: {name} is not in ZOO_TEST_DATA or ../shared/data")
        if not zipfile.is_zipfile(path):
            return path
        folder = tmp_path_factory.mktemp("unpacked")
        with zipfile.ZipFile(path) as archive:
            archive.extractall(str(folder))
        return str(folder)

    return find


@pytest.fixture(scope="session", autouse=True)
def no_pictures():
    """Runs that end in this process draw no pictures, which takes as long as a short training; return what does it."""
    from common.run.loop import RunRecord

    draw, RunRecord._draw = RunRecord._draw, lambda self: None
    return draw


@pytest.fixture
def pictures(no_pictures, monkeypatch):
    """Runs of this test draw their pictures nevertheless."""
    from common.run.loop import RunRecord

    monkeypatch.setattr(RunRecord, "_draw", no_pictures)


@pytest.fixture
def saved_figures(monkeypatch):
    """Figures by the name of their file, for inspection after they are written."""
    from common.plots import figures

    kept, save = {}, figures.save_figure

    def keep(figure, path):
        kept[os.path.basename(path)] = figure
        save(figure, path)

    monkeypatch.setattr(figures, "save_figure", keep)
    return kept
