"""What TensorFlow writes about itself when it is imported."""
from __future__ import annotations

import os
import sys

from common.quiet import noise_hidden
from tests.programs import run_python


def test_only_known_lines_are_dropped(capfd):
    lines = [b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
             b"I0000 00:00:1795667569.270779   17092 port.cc:153] oneDNN custom operations are on.",
             b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.",
             b"2026-11-26 09:37:03.780966: E common_shape_fns.cc:12] NodeDef mentions attribute Truncate which is",
             b"E0000 00:00:1795667569.270779   17092 port.cc:153] an error", b"[Error] ours"]
    with noise_hidden():
        os.write(2, b"\n".join(lines) + b"\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err.encode().splitlines() == [*lines[4:], b"after"]


def test_an_error_of_the_import_is_shown(capfd):
    try:
        with noise_hidden():
            os.write(2, b"cannot open shared object\n")
            raise ImportError("no")
    except ImportError:
        pass
    assert capfd.readouterr().err == "cannot open shared object\n"


def test_importing_tensorflow_is_silent():
    """With oneDNN as on the CPUs where it is the default."""
    for module in ("common.graph.compat", *(["common.keras.session"] if sys.version_info >= (3, 8) else [])):
        result = run_python("-c", f"import {module}", TF_ENABLE_ONEDNN_OPTS="1", TF_CPP_MIN_LOG_LEVEL="2")
        assert (result.returncode, result.stderr) == (0, "")
