"""The backbone's weights from Keras' file, read as data: by layer and variable names, with checked shapes."""
from __future__ import annotations

import os
from typing import Any

import h5py
import numpy as np

from common.errors import ZooError

FILE_NAME = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
FOLDER = "model"
MD5 = "4d473c1dd8becc155b73f8504c6f6626"  # as Keras publishes it for its own download of this file
_WHERE = (f"get {FILE_NAME} (md5 {MD5}) from https://storage.googleapis.com/tensorflow/keras-applications/resnet/, put "
          f"it into {FOLDER}/ of the data folder or name it with --weights=PATH; --weights=none takes random weights")


def find(flag: str | None, data_folder: str, backbone: str) -> str | None:
    """Find the weights' file.

    Args:
        flag: --weights: a path, "none", or None for the file of the data folder.
        data_folder: the folder with left/ and right/.
        backbone: "tiny" has no weights.

    Raises:
        ZooError: no file.
    """
    if flag == "none" or (backbone == "tiny" and flag is None):
        return None
    candidates = [os.path.abspath(os.path.expanduser(flag))] if flag else [
        os.path.join(folder, FOLDER, FILE_NAME) for folder in (data_folder, os.path.dirname(data_folder))]
    for path in candidates:
        if os.path.isfile(path):
            return path
    raise ZooError(f"{candidates[0]}: no such file; {_WHERE}")


def notices(path: str | None, backbone: str) -> list[str]:
    """What to say of a backbone that was never trained."""
    if backbone == "tiny":
        return ["Notice: the backbone tiny is for smoke runs; its frozen part is random and stays so."]
    if path is None:
        return ["Notice: the backbone's weights are random and its frozen part stays so; results need the published "
                f"ones, {_WHERE}"]
    return []


def load(model: Any, path: str) -> None:
    """Load the backbone of a model; its head keeps its random weights.

    Raises:
        ZooError: the file is damaged, or lacks a variable, or has one of another shape.
    """
    from siamese_triplet_tf2.model import variable_names  # `find` needs no TensorFlow

    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)  # of a whole model, or of weights alone
            values = {name: _read(root, name) for name in variable_names(model) if name.split("/")[0] in root}
    except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise ZooError(f"{path}: is damaged or no weights file of Keras ({str(error).splitlines()[0]}); {_WHERE}"
                       ) from None
    backbone = [(name, variable) for name, variable in zip(variable_names(model), model.weights)
                if not name.startswith(("dense", "batch_normalization"))]
    for name, variable in backbone:
        found = values.get(name)
        if found is None or found.shape != tuple(variable.shape):
            what = "missing" if found is None else f"of shape {found.shape}"
            raise ZooError(f"{path}: {name} is {what}, expected {tuple(variable.shape)}; {_WHERE}")
    for name, variable in backbone:
        variable.assign(values[name])


def _read(root: Any, name: str) -> np.ndarray:
    """Keras writes `layer/layer/variable:0`, older files `layer/layer/variable`."""
    layer, variable = name.split("/")
    group = root[layer]
    for weight_name in group.attrs["weight_names"]:
        text = weight_name.decode("utf-8") if isinstance(weight_name, bytes) else str(weight_name)
        if text.split("/")[-1].split(":")[0] == variable:
            return np.asarray(group[text], np.float32)
    raise KeyError(f"{name} is missing")


def fingerprint(path: str | None) -> list[Any] | None:
    """Return name and size of the weights' file."""
    return [os.path.basename(path), os.path.getsize(path)] if path else None
