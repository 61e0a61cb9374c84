"""Weights in the files that the original takes: caffenet.npy for the semantic trunk, a .mat of SiamFC. No TensorFlow.

Both are read without executing anything in them.
"""
from __future__ import annotations

import os
import zlib
from typing import Any, Mapping, Sequence

import numpy as np

from common.errors import ZooError
from sa_siam_tf1.datasets import plain_pickle

# kernel of each layer as the files have it, the groups of conv2, conv4 and conv5 side by side in the last axis
KERNELS = {"conv1": (11, 11, 3, 96), "conv2": (5, 5, 48, 256), "conv3": (3, 3, 256, 384), "conv4": (3, 3, 192, 384),
           "conv5": (3, 3, 192, 256)}
_MAT_HEADER_BYTES = 128
_GROUPED = ("conv2", "conv4", "conv5")
_SEMANTIC, _APPEARANCE = "sa_siam/semantic_net", "sa_siam/appearance_net"


def load_caffenet(path: str) -> dict[str, np.ndarray]:
    """Read caffenet.npy: a dict of layers, each a dict of `weights` [height, width, in, out] and `biases` [out].

    Returns:
        float32 arrays by name of the semantic branch's variable. Layers with fc in their name are passed over.

    Raises:
        ZooError: another format, a layer too few or of another shape.
    """
    layers = plain_pickle.read_arrays(path)
    if not isinstance(layers, dict) or not all(isinstance(layer, dict) for layer in layers.values()):
        raise ZooError(f"{path}: holds {type(layers).__name__}, expected a dict of layers, each a dict of weights and "
                       "biases")
    layers = {_text(name): {_text(key): value for key, value in layer.items()} for name, layer in layers.items()}
    values: dict[str, np.ndarray] = {}
    for layer, shape in KERNELS.items():
        found = layers.get(layer, {})
        for key, wanted in (("weights", shape), ("biases", shape[-1:])):
            array = _checked(path, f"{layer} {key}", found.get(key), wanted)
            values.update(_parted(f"{_SEMANTIC}/{layer}", key, array))
    return values


def holds_trunk(shapes: Mapping[str, Sequence[int]]) -> bool:
    """Whether a checkpoint brings the whole semantic trunk along, so that caffenet.npy is not needed.

    Args:
        shapes: of its variables, by name.
    """
    for layer, shape in KERNELS.items():
        for key, whole in (("weights", shape), ("biases", shape[-1:])):
            parts = _parted(f"{_SEMANTIC}/{layer}", key, np.empty(whole, np.float32))  # for names and shapes alone
            if any(tuple(shapes.get(name, ())) != part.shape for name, part in parts.items()):
                return False
    return True


def load_mat(path: str) -> dict[str, np.ndarray]:
    """Read the parameters of a SiamFC network, `net.params` of MatConvNet, for the appearance branch.

    Kernels are conv1f to conv5f; of a batch normalisation bnNm is gamma, bnNb is beta, bnNx is [channels, 2], moving
    mean and moving standard deviation; conv5b are conv5's biases, adjust_b is the response's bias. Biases of conv1 to
    conv4 are of no use before a normalisation, adjust_f is a factor that this network has as a constant.

    Returns:
        float32 arrays by variable.

    Raises:
        ZooError: another format, a parameter too few or of another shape.
    """
    parameters = _mat_parameters(path)
    values: dict[str, np.ndarray] = {}
    for number, (layer, shape) in enumerate(KERNELS.items(), 1):
        scope, channels = f"{_APPEARANCE}/{layer}", shape[-1:]
        values.update(_parted(scope, "weights", _checked(path, f"{layer}f", parameters.get(f"{layer}f"), shape)))
        if layer == "conv5":
            values.update(_parted(scope, "biases", _checked(path, "conv5b", parameters.get("conv5b"), channels)))
            continue
        for key, name in (("m", "gamma"), ("b", "beta")):
            array = _checked(path, f"bn{number}{key}", parameters.get(f"bn{number}{key}"), channels)
            values.update(_parted(scope, f"BatchNorm/{name}", array, layer))
        moments = _checked(path, f"bn{number}x", parameters.get(f"bn{number}x"), (*channels, 2))
        values.update(_parted(scope, "BatchNorm/moving_mean", moments[:, 0], layer))
        values.update(_parted(scope, "BatchNorm/moving_variance", np.square(moments[:, 1]), layer))
    values["detection/biases"] = _checked(path, "adjust_b", parameters.get("adjust_b"), (1,))
    return values


def fingerprint(path: str | None) -> list[Any] | None:
    """Name and checksum of a file of weights, None for none."""
    if path is None:
        return None
    with open(path, "rb") as file:
        return [os.path.basename(path), zlib.crc32(file.read())]


def _mat_parameters(path: str) -> Mapping[str, np.ndarray]:
    import scipy.io

    with open(path, "rb") as file:
        head = file.read(_MAT_HEADER_BYTES)
    if len(head) < _MAT_HEADER_BYTES or not head.startswith(b"MATLAB 5.0"):
        raise ZooError(f"{path}: begins with {head[:10]!r}, expected a .mat file of version 5 to 7")
    try:
        net = scipy.io.loadmat(path)["net"]
        found = net["params"][0][0]
        return {_text(entry["name"].item()): entry["value"] for entry in found[0]}
    except (OSError, ValueError, KeyError, IndexError, TypeError, NotImplementedError, AttributeError,
            zlib.error) as error:
        raise ZooError(f"{path}: is no .mat file that can be read, with net.params of name and value "
                       f"({type(error).__name__}: {error})") from None


def _text(name: Any) -> str:
    return name.decode("latin1") if isinstance(name, bytes) else str(name)


def _checked(path: str, what: str, value: Any, shape: tuple) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        raise ZooError(f"{path}: {what} is missing or no array of numbers, expected {list(shape)}")
    if value.size == int(np.prod(shape)) and len(shape) == 1:
        value = value.reshape(shape)  # columns and rows of one
    if value.shape != shape:
        raise ZooError(f"{path}: {what} is {list(value.shape)}, expected {list(shape)}")
    if not np.isfinite(value).all():
        raise ZooError(f"{path}: {what} holds numbers that are not finite")
    return value.astype(np.float32)


def _parted(scope: str, name: str, array: np.ndarray, layer: str = "") -> dict[str, np.ndarray]:
    """A layer's array by variable: halves of the last axis, b1 and b2, for a layer of two groups."""
    if (layer or scope.rpartition("/")[2]) not in _GROUPED:
        return {f"{scope}/{name}": array}
    halves = np.split(array, 2, axis=-1)
    return {f"{scope}/b{number}/{name}": half for number, half in enumerate(halves, 1)}
