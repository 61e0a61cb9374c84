"""ONNX models: converted from SavedModels by tf2onnx, and run in ONNX Runtime. Both packages are optional."""
from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from typing import Mapping

import numpy as np

from common.checkpoints import bundle
from common.errors import ZooError

OPSET = 17
_NEEDED = ("tf2onnx", "onnxruntime")


def require_packages() -> None:
    """Raise ZooError unless the packages are installed."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ZooError(f"--onnx needs {' and '.join(missing)}: pip install -r requirements-onnx.txt, with Python 3.10 "
                       "or newer")


def convert(saved_model: str, path: str) -> None:
    """Convert a SavedModel, in a process of its own: tf2onnx needs eager TensorFlow, which a graph model switches off.

    Paths are absolute; the names of the signature are kept. Raises ZooError if the conversion fails.
    """
    with bundle.literal(saved_model) as literal, tempfile.TemporaryDirectory(prefix="zoo-") as settings:
        result = subprocess.run([sys.executable, "-m", "tf2onnx.convert", "--saved-model", literal, "--output", path,
                                 "--opset", str(OPSET)], cwd=os.path.dirname(path), check=False, text=True,
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                env=dict(os.environ, MPLCONFIGDIR=settings))  # for what Keras imports
    if result.returncode:
        lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
        raise ZooError(f"{saved_model}: tf2onnx cannot convert it to ONNX ({lines[-1]})")
    _correct_bicubic(path)


def _correct_bicubic(path: str) -> None:
    """Give bicubic interpolation TensorFlow's kernel.

    TensorFlow has two: a = -0.5 without the pixels outside for half-pixel centers, a = -0.75 with repeated borders
    otherwise. tf2onnx 1.17 writes the first for both.
    """
    import onnx

    model = onnx.load(path)
    for node in model.graph.node:
        attributes = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type == "Resize" and attributes["mode"].s == b"cubic" and (
                attributes["coordinate_transformation_mode"].s != b"half_pixel"):
            attributes["cubic_coeff_a"].f = -0.75
            attributes["exclude_outside"].i = 0
    onnx.save(model, path)


def run(path: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the outputs of an ONNX model by name, computed by ONNX Runtime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs))))
