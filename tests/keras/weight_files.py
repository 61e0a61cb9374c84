"""Weight files in the h5 layout of Keras 2."""
from __future__ import annotations

from typing import Mapping

import h5py
import numpy as np


def write(path: str, values: Mapping[str, np.ndarray], whole_model: bool = False, suffix: str = ":0") -> str:
    """Write variables: a group for each layer, whose variables are named in an attribute.

    Args:
        path: of the file.
        values: by `<layer>/<variable>`.
        whole_model: as `model.save` writes them, in a group of their own.
        suffix: of the names of variables in the file.

    Returns:
        The path.
    """
    layers = list(dict.fromkeys(name.split("/")[0] for name in values))
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole_model else file
        root.attrs["layer_names"] = [layer.encode() for layer in layers]
        for layer in layers:
            names = [name for name in values if name.split("/")[0] == layer]
            group = root.create_group(layer)
            group.attrs["weight_names"] = [f"{name}{suffix}".encode() for name in names]
            for name in names:
                group.create_dataset(f"{name}{suffix}", data=values[name])
    return path
