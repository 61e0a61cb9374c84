"""Arrays that stay on the device, such as a data set that steps take their batches from."""
from __future__ import annotations

import numpy as np

from common.graph.compat import assign, tf

_WORD = 4  # bytes


class ResidentArray:
    """An array in a variable that no checkpoint holds.

    Bytes are stored as words of float32, because GPUs have no variables of bytes.
    """

    def __init__(self, name: str, array: np.ndarray):
        """Create the variable in the default graph.

        Args:
            name: of the variable.
            array: uint8, float32 or int64 [num, ...].
        """
        self._shape, self._is_bytes = array.shape[1:], array.dtype == np.uint8
        self._stored = _words(array) if self._is_bytes else array
        self._variable = tf.get_variable(name, self._stored.shape, tf.as_dtype(self._stored.dtype),
                                         tf.zeros_initializer(), trainable=False,
                                         collections=[tf.GraphKeys.LOCAL_VARIABLES])

    def load(self, session: tf.Session) -> None:
        """Copy the array to the device."""
        assign(session, {self._variable: self._stored})

    def gather(self, indices: tf.Tensor) -> tf.Tensor:
        """Return the rows at integer indices [batch]: [batch, ...], of the array's type."""
        rows = tf.gather(self._variable, indices)
        if not self._is_bytes:
            return rows
        num_bytes = int(np.prod(self._shape))
        flat = tf.reshape(tf.bitcast(rows, tf.uint8), [-1, self._stored.shape[1] * _WORD])
        return tf.reshape(flat[:, :num_bytes], [-1, *self._shape])


def _words(array: np.ndarray) -> np.ndarray:
    """Return bytes [num, ...] as float32 [num, words], each row padded to full words."""
    rows = np.ascontiguousarray(array.reshape(len(array), -1))
    padding = -rows.shape[1] % _WORD
    if padding:
        rows = np.pad(rows, [(0, 0), (0, padding)], mode="constant")
    return rows.view(np.float32)
