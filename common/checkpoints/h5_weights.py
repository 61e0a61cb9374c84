"""Weights from Keras' h5 files, read as data: by layer and variable names, with checked shapes."""
from __future__ import annotations

import os
from typing import Any, Container, Mapping, Sequence

import numpy as np

from common.errors import ZooError

_OLD_NAMES = {"kernel": "W", "bias": "b"}  # Keras 1 wrote `layer/layer_W_1:0`


def find(flag: str | None, candidates: Sequence[str], advice: str) -> str:
    """Return the first path that is a file.

    Args:
        flag: --weights, or None for the default paths.
        candidates: paths, the likeliest first.
        advice: where to get the file.

    Raises:
        ZooError: none of them is a file.
    """
    for path in candidates:
        if os.path.isfile(path):
            return path
    raise ZooError(f"{f'--weights={flag}' if flag else candidates[0]}: no such file; {advice}")


def load(path: str, variables: Mapping[str, Any], advice: str, optional: Container[str] = ()) -> list[str]:
    """Assign variables their values in a file of weights alone, or of a whole model.

    Args:
        path: the file.
        variables: by `layer/variable`.
        advice: where to get a file that fits.
        optional: names of variables that may be missing.

    Returns:
        The names of those that are.

    Raises:
        ZooError: the file is damaged or of another layout, lacks a variable, or has one of another shape. No variable
            is changed then.
    """
    values = _read(path, variables, advice)
    missing = [name for name in variables if name not in values and name in optional]
    for name, variable in variables.items():
        value, shape = values.get(name), tuple(variable.shape)
        if name not in missing and (value is None or value.shape != shape):
            problem = "missing" if value is None else f"of shape {value.shape}"
            raise ZooError(f"{path}: {name} is {problem}, expected {shape}; {advice}")
    for name, value in values.items():
        variables[name].assign(value)
    return missing


def _read(path: str, names: Mapping[str, Any], advice: str) -> dict[str, np.ndarray]:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)
            values = {name: _read_variable(root, name) for name in names if name.split("/")[0] in root}
    except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise ZooError(f"{path}: is damaged or no weights file of Keras ({str(error).splitlines()[0]}); {advice}"
                       ) from None
    if not values:
        raise ZooError(f"{path}: has no layer of this network by name (Keras 3 writes another layout); continue from a "
                       f"run's checkpoint with --init_checkpoint, or {advice}")
    return values


def _read_variable(root: Any, name: str) -> np.ndarray:
    """Keras 2 writes `layer/layer/variable:0`, some files without `:0`."""
    layer, variable = name.split("/")
    group = root[layer]
    for weight_name in group.attrs["weight_names"]:
        text = weight_name.decode("utf-8") if isinstance(weight_name, bytes) else str(weight_name)
        last = text.split("/")[-1].split(":")[0]
        if last == variable or last.startswith(f"{layer}_{_OLD_NAMES.get(variable, variable)}"):
            return np.asarray(group[text], np.float32)
    raise KeyError(f"{name} is missing")


def fingerprint(path: str | None) -> list[Any] | None:
    """Return name and size of a file, None for none."""
    return [os.path.basename(path), os.path.getsize(path)] if path else None
