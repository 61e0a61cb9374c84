"""TensorFlow's version 1 API on TensorFlow 1.15, 2.6 and current: `from common.graph.compat import tf`.

Graph models import TensorFlow through this module only. A program calls `enable()` once, after it has parsed its flags.
`assign` and `ResidentArray` are what the API lacks.
"""
from __future__ import annotations

import contextlib
import os
import warnings
from typing import Any, Iterator, Mapping, Sequence

import numpy as np

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

__all__ = ["ResidentArray", "assign", "config", "device_and_version", "enable", "tf"]
_WORD = 4  # bytes


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


class ResidentArray:
    """An array that stays on the device, such as a data set that steps take their batches from, in no checkpoint.

    Bytes are stored as words of float32, because GPUs have no variables of bytes. Some words are NaN, so a graph with
    numeric checks (--over_dump) must not use it.
    """

    def __init__(self, name: str, shape: Sequence[int], dtype: np.dtype):
        """Create the variable in the default graph for an array [num, ...] of uint8, float32 or int64."""
        self._row_shape, self._is_bytes = tuple(shape[1:]), dtype == np.uint8
        if self._is_bytes:
            shape, dtype = [shape[0], -(-int(np.prod(shape[1:])) // _WORD)], np.dtype(np.float32)
        self._variable = tf.get_variable(name, shape, tf.as_dtype(dtype), tf.zeros_initializer(), trainable=False,
                                         collections=[tf.GraphKeys.LOCAL_VARIABLES])

    def load(self, session: tf.Session, array: np.ndarray) -> None:
        """Copy an array to the device."""
        assign(session, {self._variable: self.stored(array)})

    def clear(self, session: tf.Session) -> None:
        """Set all rows to zero, which takes their memory; `write` fills them."""
        session.run(self._variable.initializer)

    def write(self, indices: tf.Tensor, rows: tf.Tensor) -> tf.Operation:
        """Return an op that replaces the rows at integer indices [num] by rows in the form of `stored`."""
        return tf.raw_ops.ResourceScatterUpdate(resource=self._variable.handle, indices=indices, updates=rows)

    def gather(self, indices: tf.Tensor) -> tf.Tensor:
        """Return the rows at integer indices [batch]: [batch, ...], of the array's type."""
        rows = tf.gather(self._variable, indices)
        if not self._is_bytes:
            return rows
        num_bytes = int(np.prod(self._row_shape))
        flat = tf.reshape(tf.bitcast(rows, tf.uint8), [-1, int(rows.shape[1]) * _WORD])
        return tf.reshape(flat[:, :num_bytes], [-1, *self._row_shape])

    def stored(self, rows: np.ndarray) -> np.ndarray:
        """Return rows as they are stored: bytes as float32 [num, words], each row padded to full words."""
        if not self._is_bytes:
            return rows
        rows = np.ascontiguousarray(rows.reshape(len(rows), int(np.prod(self._row_shape))))
        padding = -rows.shape[1] % _WORD
        if padding:
            rows = np.pad(rows, [(0, 0), (0, padding)], mode="constant")
        return rows.view(np.float32)
