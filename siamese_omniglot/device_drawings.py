"""Drawings in the memory of the device, where the images of a batch are made."""
from __future__ import annotations

import functools

import numpy as np

from common.keras.session import tf
from siamese_omniglot.data import augmentation
from siamese_omniglot.data.omniglot import SIDE, DrawingStore


class DeviceDrawings:
    """All drawings, and their affine changes.

    An image is the one that `augmentation.change_affinely` makes on the host, bit for bit: coordinates and colours are
    computed in float64, in the same order, and the colours are cut off.
    """

    def __init__(self, store: DrawingStore, compiles: bool):
        """Copy the drawings to the device; `compiles` uses XLA, which on a CPU makes images ten times as fast."""
        rows = np.pad(store.rows, ((0, 0), (0, -store.rows.shape[1] % 8)))
        self._rows = tf.constant(rows.view(np.int64))  # a type that can be gathered on every device
        self._make = tf.function(functools.partial(_make_images, is_packed=store.is_packed), autograph=False,
                                 jit_compile=compiles)

    def images(self, drawings: tf.Tensor, changes: tf.Tensor) -> tf.Tensor:
        """Within a compiled function: make images, uint8 [num, 105, 105], of drawings given by index, int64 [num].

        `changes` are those of `augmentation.affine_coefficients`, float64 [num, 6]; [num, 0] changes nothing.
        """
        return self._make(tf.gather(self._rows, drawings), changes)


def _make_images(rows: tf.Tensor, changes: tf.Tensor, is_packed: bool) -> tf.Tensor:
    """Make images from rows of the store, int64 [num, bytes / 8]."""
    num_bytes = 8 * rows.shape[1]
    rows = tf.reshape(tf.bitcast(rows, tf.uint8), [-1, num_bytes])
    if is_packed:
        bits = tf.bitwise.right_shift(rows[:, :, None], tf.constant(np.arange(7, -1, -1, dtype=np.uint8)))
        rows = tf.reshape(tf.bitwise.bitwise_and(bits, np.uint8(1)), [-1, 8 * num_bytes]) * np.uint8(255)
    drawings = rows[:, :SIDE * SIDE]
    if changes.shape[1]:
        drawings = _changed(tf.cast(drawings, tf.float32), changes)
    return tf.reshape(drawings, [-1, SIDE, SIDE])


def _changed(drawings: tf.Tensor, changes: tf.Tensor) -> tf.Tensor:
    """Change the colours of drawings, float32 [num, 105 * 105], by float64 [num, 6]; return uint8 [num, 105, 105].

    Everything is floating point: TensorFlow computes with int32 on the host even if there is a GPU.
    """
    a, b, c, d, e, f = (one[:, None, None] for one in tf.unstack(changes, axis=1))
    centers = tf.constant(np.arange(SIDE) + 0.5)
    x, y = centers[None, None, :], centers[None, :, None]
    source_x, source_y = a * x + b * y + c, d * x + e * y + f
    is_inside = (source_x >= 0.0) & (source_x < SIDE) & (source_y >= 0.0) & (source_y < SIDE)
    source_x, source_y = source_x - 0.5, source_y - 0.5
    left, top = tf.floor(source_x), tf.floor(source_y)
    to_right, to_lower = source_x - left, source_y - top

    def colour(column: tf.Tensor, row: tf.Tensor) -> tf.Tensor:
        row, column = (tf.clip_by_value(index, np.float64(0.0), np.float64(SIDE - 1)) for index in (row, column))
        return tf.cast(tf.gather(drawings, tf.cast(row * SIDE + column, tf.int64), batch_dims=1), tf.float64)

    def between(one: tf.Tensor, other: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
        return one + (other - one) * share

    upper = between(colour(left, top), colour(left + 1.0, top), to_right)
    lower = between(colour(left, top + 1.0), colour(left + 1.0, top + 1.0), to_right)
    colours = tf.where(is_inside, between(upper, lower, to_lower), np.float64(augmentation.PAPER))
    return tf.cast(colours, tf.uint8)
