"""What tests of the fakes expect: exceptions of the fakes, options in a folder, the versions that can be tried."""
from __future__ import annotations

import importlib

from common.graph.compat import tf
from tests import fakes

IS_TF1 = tf.__version__.startswith("1.")
GRAPH_VERSIONS = fakes.BRIDGE_VERSIONS if IS_TF1 else fakes.VERSIONS
CHIEF = dict(CM_CHIEF_IP="10.0.0.1", CM_CHIEF_PORT="6000", CM_CHIEF_DEVICE="0")


def error(name):
    """An exception of the fakes, which are loaded anew for each test."""
    return getattr(importlib.import_module("adapter_schema"), name)


def in_folder(options, folder):
    """Put a folder's path in the place of FOLDER."""
    return {name: value.replace("FOLDER", str(folder)) if isinstance(value, str) else value
            for name, value in options.items()}
