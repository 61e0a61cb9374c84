"""TensorFlow's version 1 API on TensorFlow 1.15, 2.6 and current: `from common.graph.compat import tf`.

Graph models import TensorFlow through this module only. A program calls `enable()` once, after it has parsed its flags.
"""
from __future__ import annotations

import contextlib
import os
import warnings
from typing import Any, Iterator, Mapping

from common.console import noise_hidden
from common.devices import selection


@contextlib.contextmanager
def _without_keras() -> Iterator[None]:
    """Keep TensorFlow from importing Keras, which graph code never uses and which imports matplotlib."""
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


with warnings.catch_warnings(), _without_keras(), noise_hidden():
    warnings.simplefilter("ignore", FutureWarning)  # of TensorFlow 1.15 and the numpy version it is pinned to
    import tensorflow.compat.v1 as tf
    from tensorflow import config

__all__ = ["assign", "config", "device_and_version", "enable", "tf"]


def enable() -> None:
    """Switch the process to graph mode with resource variables."""
    tf.logging.set_verbosity(tf.logging.ERROR)
    tf.disable_v2_behavior()
    tf.enable_resource_variables()


def device_and_version(device: selection.Device, requested: str) -> str:
    """Return the kind of the settled device and TensorFlow's version; arguments and errors as of `selection.settle`."""
    return f"{selection.settle(device, requested, tf).kind}, TensorFlow {tf.__version__}"


def assign(session: tf.Session, values: Mapping[tf.Variable, Any]) -> None:
    """Assign values to variables in a single run; `Variable.load` needs a run, and a pass over the graph, for each."""
    initialisers = [variable.initializer for variable in values]
    session.run(initialisers, {op.inputs[1]: value for op, value in zip(initialisers, values.values())})
