"""Fakes that are installed for a test."""
from __future__ import annotations

import importlib
import sys
import types

import pytest

from common.graph import compat
from common.graph.compat import tf
from tests import fakes
from tests.common.fakes.outcomes import GRAPH_VERSIONS, IS_TF1


@pytest.fixture
def graph_mode():
    compat.enable()


@pytest.fixture(params=fakes.VERSIONS)
def eager(request):
    with fakes.installed(request.param, "npu_device") as process:
        yield types.SimpleNamespace(version=request.param, process=process, npu=importlib.import_module("npu_device"))


@pytest.fixture(params=GRAPH_VERSIONS)
def graph(request):
    with tf.Graph().as_default(), fakes.installed(request.param, "npu_bridge" if IS_TF1 else "npu_device") as process:
        if IS_TF1:
            importlib.import_module("npu_bridge.npu_init")
        else:
            importlib.import_module("npu_device.compat.v1.npu_init")
            sys.modules["npu_device"].compat.enable_v1()
        yield types.SimpleNamespace(version=request.param, process=process)
