"""Weights from Keras' h5 files, read as data: by layer and variable names, with checked shapes."""
from __future__ import annotations

import os
from typing import Any, Mapping

import h5py
import numpy as np

from common.errors import ZooError

VGG16_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
_WHERE = (f"get {VGG16_FILE} from https://storage.googleapis.com/tensorflow/keras-applications/vgg16/, or take "
          "--weights=none for random ones")


def find(flag: str | None, model_root: str) -> str | None:
    """Find the file that --weights names.

    Args:
        flag: a path, "none" or None.
        model_root: folder of the model, searched for a relative path.

    Raises:
        ZooError: no such file.
    """
    if flag in (None, "none"):
        return None
    candidates = [os.path.abspath(os.path.expanduser(flag)), os.path.join(model_root, flag)]
    for path in candidates:
        if os.path.isfile(path):
            return path
    raise ZooError(f"--weights={flag}: no such file; {_WHERE}")


def load(variables: Mapping[str, Any], path: str) -> list[str]:
    """Load variables by name: every layer that the file has; all convolutions must be there.

    Args:
        variables: by `layer/variable`.
        path: a file of Keras' h5 layout: VGG16's published weights, or those of a whole network as the original saves.

    Returns:
        One line that names the layers which keep their random weights, or nothing.

    Raises:
        ZooError: the file is damaged or of another layout, lacks a convolution, or has one of another shape.
    """
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)  # of a whole model, or of weights alone
            if "layer_names" not in root.attrs:
                raise ZooError(f"{path}: is no weights file with layers by name (Keras 3 writes another layout); "
                               f"continue from a run's checkpoint with --init_checkpoint, or {_WHERE}")
            values = {name: _read(root, name) for name in variables if name.split("/")[0] in root}
    except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise ZooError(f"{path}: is damaged or no weights file of Keras ({str(error).splitlines()[0]}); {_WHERE}"
                       ) from None
    missing = []
    for name, variable in variables.items():
        value = values.get(name)
        if value is None and len(variables[f"{name.split('/')[0]}/kernel"].shape) == 2:
            missing.append(name)
        elif value is None or value.shape != tuple(variable.shape):
            raise ZooError(f"{path}: {name} is {'missing' if value is None else f'of shape {value.shape}'}, expected "
                           f"{tuple(variable.shape)}; {_WHERE}")
    for name, value in values.items():
        variables[name].assign(value)
    return [f"Not in {path}, so random: {', '.join(missing)}"] if missing else []


def _read(root: Any, name: str) -> np.ndarray:
    """Keras writes `layer/layer/variable:0`; the very old file of VGG16 `layer/layer_W_1:0` and `layer_b_1:0`."""
    layer, variable = name.split("/")
    group = root[layer]
    old = {"kernel": f"{layer}_W", "bias": f"{layer}_b"}[variable]
    for weight_name in group.attrs["weight_names"]:
        text = weight_name.decode("utf-8") if isinstance(weight_name, bytes) else str(weight_name)
        last = text.split("/")[-1].split(":")[0]
        if last == variable or last.startswith(old):
            return np.asarray(group[text], np.float32)
    raise KeyError(f"{name} is missing")


def fingerprint(path: str | None) -> list[Any] | None:
    """Return name and size of the weights' file."""
    return [os.path.basename(path), os.path.getsize(path)] if path else None
