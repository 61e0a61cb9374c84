"""TensorFlow's version 1 API on TensorFlow 1.15, 2.6 and current: `from common.tf1 import tf`.

Graph models import TensorFlow through this module only. `enable()` is called once, by an entry's main after the flags.
"""
from __future__ import annotations

import contextlib
import dataclasses
import os
import warnings
from typing import Any, Iterator, Mapping


@contextlib.contextmanager
def _without_keras() -> Iterator[None]:
    """Keep TensorFlow from importing Keras, which graph code never uses and which brings matplotlib along."""
    name = "TF_USE_LEGACY_KERAS"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


with warnings.catch_warnings(), _without_keras():
    warnings.simplefilter("ignore", FutureWarning)  # TensorFlow 1.15 on the numpy it is pinned to
    import tensorflow.compat.v1 as tf

from common.devices.selection import Device  # noqa: E402
from common.errors import ZooError  # noqa: E402

__all__ = ["assign", "enable", "place", "settle", "tf"]


def enable() -> None:
    """Switch the process to graph mode with resource variables."""
    tf.logging.set_verbosity(tf.logging.ERROR)
    tf.disable_v2_behavior()
    tf.enable_resource_variables()


def settle(device: Device, requested: str) -> Device:
    """Say whether "a GPU if TensorFlow sees one" is a GPU.

    Args:
        device: from `common.device.choose`.
        requested: the value of --device.

    Raises:
        ZooError: a GPU was asked for and TensorFlow sees none.
    """
    if device.kind != "gpu" or tf.config.experimental.list_physical_devices("GPU"):
        return device
    if requested == "gpu":
        raise ZooError(f"--device=gpu: TensorFlow {tf.__version__} sees no GPU; check the driver and that TensorFlow "
                       "is a GPU build, or use --device=cpu")
    return dataclasses.replace(device, kind="cpu")


def place(device: Device, requested: str) -> str:
    """Name what computes, the device's kind and TensorFlow's version; arguments and errors as `settle`."""
    return f"{settle(device, requested).kind}, TensorFlow {tf.__version__}"


def assign(session: tf.Session, values: Mapping[tf.Variable, Any]) -> None:
    """Give variables values, all in one run; `Variable.load` makes a run, and a look at the whole graph, for each."""
    initialisers = [variable.initializer for variable in values]
    session.run(initialisers, {op.inputs[1]: value for op, value in zip(initialisers, values.values())})
