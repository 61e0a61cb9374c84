"""Weights from files of other programs: caffenet.npy for the semantic trunk, a .mat file of a SiamFC network.

Both are read without executing anything in them.
"""
from __future__ import annotations

import os
import zlib
from typing import Any, Iterator, Mapping, NamedTuple, Sequence

import numpy as np

from common.checkpoints import bundle
from common.cli.parser import FlagSet, FlagValues
from common.cli.shared_flags import find_path
from common.data import checksums, plain_pickle
from common.errors import FlagError, ZooError
from sa_siam_tf1.configuration import KERNELS, ROOT

CAFFENET_NAME = "caffenet.npy"
_MAT_HEADER_BYTES = 128
_GROUPED = ("conv2", "conv4", "conv5")  # the files concatenate two groups on the last axis
_SEMANTIC, _APPEARANCE = "sa_siam/semantic_net", "sa_siam/appearance_net"


class Imported(NamedTuple):
    """Initial values from a file."""

    values: Mapping[str, np.ndarray]  # float32, by variable
    notices: list  # lines to print
    fingerprint: list | None = None  # name and checksum of the file


def define(flags: FlagSet) -> None:
    """Define the flags that name the files."""
    flags.model.string("caffenet", None, "Semantic branch: caffenet.npy with the weights of the frozen trunk, or "
                       "random, which leaves it untrained.", "caffenet.npy in the data folder")
    flags.model.string("embedding_checkpoint_file", None, "Appearance branch: .mat file of a SiamFC network to start "
                       "from.")


def choose(flags: FlagValues, branch: str, data_folder: str, init_checkpoint: str | None) -> Imported:
    """Read the file that a branch, "appearance" or "semantic", starts from.

    caffenet.npy is looked for in the data folder. `init_checkpoint` is the prefix of a checkpoint to take weights from
    too, or None.

    Raises:
        FlagError: a flag of the other branch.
        ZooError: a file is missing or is not such a file.
    """
    if branch == "appearance":
        notices = ["Warning: --caffenet has no effect: the appearance branch has no such trunk"
                   ] if flags.caffenet else []
        if not flags.embedding_checkpoint_file:
            return Imported({}, notices)
        path = find_path("embedding_checkpoint_file", flags.embedding_checkpoint_file, ROOT)
        return Imported(load_mat(path), [*notices, f"Weights: {path}"], _fingerprint(path))
    if flags.embedding_checkpoint_file:
        raise FlagError("--embedding_checkpoint_file is for the appearance branch; the semantic one takes --caffenet")
    if init_checkpoint:
        from common.graph.compat import tf

        if holds_trunk(bundle.shapes_in(init_checkpoint, tf)):
            return Imported({}, ["Warning: --caffenet has no effect: the trunk comes from --init_checkpoint"
                                 ] if flags.caffenet else [])
    if flags.caffenet == "random":
        return Imported({}, ["WARNING: --caffenet=random: the semantic trunk is frozen at random weights. It is "
                             "UNTRAINED, and so is all that is learned on top of it."])
    path = find_path("caffenet", flags.caffenet, ROOT) if flags.caffenet else _caffenet_in(data_folder)
    return Imported(load_caffenet(path), [f"Weights: {path}"], _fingerprint(path))


def _caffenet_in(folder: str) -> str:
    candidates = [os.path.join(folder, *names, CAFFENET_NAME) for names in ((), ("Data", "VID", "train"))]
    for path in candidates:
        if os.path.isfile(path):
            return path
    raise ZooError(f"the semantic branch needs the weights of CaffeNet, and {candidates[0]} is missing: give "
                   "--caffenet=FILE, an --init_checkpoint of this branch, or --caffenet=random for an untrained trunk")


def _fingerprint(path: str) -> list[Any]:
    checksums.verify(path)
    with open(path, "rb") as file:
        return [os.path.basename(path), zlib.crc32(file.read())]


def load_caffenet(path: str) -> dict[str, np.ndarray]:
    """Read caffenet.npy: a dict of layers, each a dict of `weights` [height, width, in, out] and `biases` [out].

    Returns:
        float32 arrays by variable of the semantic branch. Layers with fc in their name are ignored.

    Raises:
        ZooError: the format is wrong, or a layer is missing or of the wrong shape.
    """
    layers = plain_pickle.read_arrays(path)
    if not isinstance(layers, dict) or not all(isinstance(layer, dict) for layer in layers.values()):
        raise ZooError(f"{path}: holds {type(layers).__name__}, expected a dict of layers, each a dict of weights and "
                       "biases")
    layers = {_text(name): {_text(key): value for key, value in layer.items()} for name, layer in layers.items()}
    values: dict[str, np.ndarray] = {}
    for layer, key, shape in _trunk():
        array = layers.get(layer, {}).get(key)
        values.update(_by_group(_SEMANTIC, layer, key, _checked(path, f"{layer} {key}", array, shape)))
    return values


def holds_trunk(shapes: Mapping[str, Sequence[int]]) -> bool:
    """Whether a checkpoint, by the shapes of its variables, holds the semantic trunk: caffenet.npy is not needed."""
    return all(tuple(shapes.get(name, ())) == part.shape for layer, key, shape in _trunk()
               for name, part in _by_group(_SEMANTIC, layer, key, np.empty(shape, np.float32)).items())


def _trunk() -> Iterator[tuple[str, str, tuple]]:
    for layer, shape in KERNELS.items():
        yield layer, "weights", shape
        yield layer, "biases", shape[-1:]


def load_mat(path: str) -> dict[str, np.ndarray]:
    """Read the parameters of a SiamFC network, `net.params` of MatConvNet, for the appearance branch.

    Kernels are conv1f to conv5f. Of the batch normalisation of layer N, bnNm is gamma, bnNb is beta, and bnNx
    [channels, 2] holds moving mean and moving standard deviation. conv5b are the biases of conv5, adjust_b is the bias
    of the response. The biases of conv1 to conv4 are ignored: a batch normalisation follows. So is adjust_f: this
    network has a constant in its place.

    Returns:
        float32 arrays by variable.

    Raises:
        ZooError: the format is wrong, or a parameter is missing or of the wrong shape.
    """
    parameters = _mat_parameters(path)
    values: dict[str, np.ndarray] = {}

    def take(name: str, shape: tuple) -> np.ndarray:
        return _checked(path, name, parameters.get(name), shape)

    for number, (layer, shape) in enumerate(KERNELS.items(), 1):
        channels = shape[-1:]
        arrays = dict(weights=take(f"{layer}f", shape))
        if layer == "conv5":
            arrays["biases"] = take("conv5b", channels)
        else:
            moments = take(f"bn{number}x", (*channels, 2))
            arrays.update({"BatchNorm/gamma": take(f"bn{number}m", channels),
                           "BatchNorm/beta": take(f"bn{number}b", channels),
                           "BatchNorm/moving_mean": moments[:, 0],
                           "BatchNorm/moving_variance": np.square(moments[:, 1])})
        for key, array in arrays.items():
            values.update(_by_group(_APPEARANCE, layer, key, array))
    values["detection/biases"] = take("adjust_b", (1,))
    return values


def _mat_parameters(path: str) -> Mapping[str, np.ndarray]:
    import scipy.io

    with open(path, "rb") as file:
        head = file.read(_MAT_HEADER_BYTES)
    if len(head) < _MAT_HEADER_BYTES or not head.startswith(b"MATLAB 5.0"):
        raise ZooError(f"{path}: begins with {head[:10]!r}, expected a .mat file of version 5 to 7")
    try:
        parameters = scipy.io.loadmat(path)["net"]["params"][0][0][0]
        return {_text(entry["name"].item()): entry["value"] for entry in parameters}
    except (OSError, ValueError, KeyError, IndexError, TypeError, NotImplementedError, AttributeError,
            zlib.error) as error:
        raise ZooError(f"{path}: is not a readable .mat file with net.params of name and value "
                       f"({type(error).__name__}: {error})") from None


def _text(name: Any) -> str:
    return name.decode("latin1") if isinstance(name, bytes) else str(name)


def _checked(path: str, what: str, value: Any, shape: tuple) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        raise ZooError(f"{path}: {what} is missing or no array of numbers, expected {list(shape)}")
    if value.size == int(np.prod(shape)) and len(shape) == 1:
        value = value.reshape(shape)  # a column or a row
    if value.shape != shape:
        raise ZooError(f"{path}: {what} is {list(value.shape)}, expected {list(shape)}")
    if not np.isfinite(value).all():
        raise ZooError(f"{path}: {what} holds numbers that are not finite")
    return value.astype(np.float32)


def _by_group(scope: str, layer: str, key: str, array: np.ndarray) -> dict[str, np.ndarray]:
    """Return a layer's array by variable; that of a layer with two groups is split on its last axis into b1 and b2."""
    if layer not in _GROUPED:
        return {f"{scope}/{layer}/{key}": array}
    return {f"{scope}/{layer}/b{number}/{key}": half for number, half in enumerate(np.split(array, 2, axis=-1), 1)}
