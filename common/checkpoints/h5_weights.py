"""Weights from Keras' h5 files, read by layer and variable names, with checked shapes."""
from __future__ import annotations

import os
from typing import Any, Container, Mapping, Sequence

import numpy as np

from common.data import checksums
from common.errors import ZooError, reason_of

_KERAS_1_NAMES = {"kernel": "W", "bias": "b"}  # as in `layer/layer_W_1:0`


def find(flag: str | None, candidates: Sequence[str], advice: str) -> str:
    """Return the first candidate that exists; ZooError without any, which names --weights and ends in `advice`."""
    for path in candidates:
        if os.path.isfile(path):
            return path
    raise ZooError(f"{f'--weights={flag}' if flag else candidates[0]}: no such file; {advice}")


def load(path: str, variables: Mapping[str, Any], advice: str, optional: Container[str] = ()) -> list[str]:
    """Load variables, by `layer/variable`, from a file of weights or of a whole model; return the missing optional
    ones.

    Raises ZooError if the file is damaged or has another layout, or a variable is missing or has another shape. No
    variable has changed in this case. `advice` says where to get the right file.
    """
    checksums.verify(path)
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
            values = {name: _read_variable(root, name, tuple(variable.shape)) for name, variable in names.items()
                      if name.split("/")[0] in root}
    except (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise ZooError(f"{path}: damaged, or not a weights file of Keras ({reason_of(error)}); {advice}") from None
    if not values:
        raise ZooError(f"{path}: has no layer with a name of this network (Keras 3 uses another layout); start from "
                       f"the checkpoint of a run with --init_checkpoint, or {advice}")
    return values


def _read_variable(root: Any, name: str, shape: tuple) -> np.ndarray:
    """Read a variable that Keras 2 calls `layer/layer/variable:0`, in some files without `:0`.

    One of another shape, which may be absurdly large, is not read: the result has its shape and no values.
    """
    layer, variable = name.split("/")
    group, paths = root[layer], []  # listed thus since reading the attribute `weight_names` may hang for a damaged file
    group.visititems(lambda path, item: paths.append(path) if hasattr(item, "shape") else None)
    for text in paths:
        last = text.split("/")[-1].split(":")[0]
        if last == variable or last.startswith(f"{layer}_{_KERAS_1_NAMES.get(variable, variable)}"):
            stored = group[text]
            if stored.dtype.kind not in "fiu":
                raise ValueError(f"{name} holds no numbers")
            if stored.shape != shape:
                return np.broadcast_to(np.float32(0.0), stored.shape)
            return np.asarray(stored, np.float32)
    raise KeyError(f"{name} is missing")


def fingerprint(path: str | None) -> list[Any] | None:
    """Return the name and size of a file, None for None."""
    return [os.path.basename(path), os.path.getsize(path)] if path else None
