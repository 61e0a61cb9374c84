"""The images of a training batch, made on the device from crops of 255 x 255 pixels.

On a CPU they are those of `transforms.change`, bit for bit: TensorFlow's resize op computes the same numbers.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from common.graph.compat import tf
from common.graph.resident import ResidentArray
from sa_siam_tf1.configuration import CURATED_SIDE
from sa_siam_tf1.datasets.crop_batches import CropBatch
from sa_siam_tf1.datasets.transforms import GRAY_OF_RGB, PADDED_SIDE

_CROP = (CURATED_SIDE, CURATED_SIDE, 3)


class DeviceImages:
    """The inputs of a training graph.

    Attributes:
        exemplars: float32 [batch, side, side, 3], RGB, 0 to 255.
        instances: the same.
    """

    def __init__(self, batch_size: int, side: int, num_kept: int, is_gray_possible: bool):
        """Build the part of the graph in the default graph.

        Args:
            batch_size: pairs in a batch.
            side: of the images, pixels.
            num_kept: crops that the device has room to keep; 0 if the crops of every batch are fed.
            is_gray_possible: whether some images are to be gray.
        """
        self._kept = ResidentArray("crops", (num_kept, *_CROP), np.dtype(np.uint8)) if num_kept else None
        # XLA would compile the resize anew for every size
        with tf.name_scope("augmentation"), tf.xla.experimental.jit_scope(compile_ops=False):
            self._changes = tf.placeholder(tf.int32, [2 * batch_size, 3], "changes")
            self._is_gray = tf.placeholder(tf.bool, [2 * batch_size], "is_gray")
            if self._kept:
                self._new = tf.placeholder(tf.float32, [None, None], "new")
                self._slots, self._chosen = (tf.placeholder(tf.int64, [None], name) for name in ("slots", "chosen"))
                with tf.control_dependencies([self._kept.write(self._slots, self._new)]):
                    self._crops = self._kept.gather(self._chosen)
            else:
                self._crops = tf.placeholder(tf.uint8, [2 * batch_size, *_CROP], "crops")
            crops = tf.reshape(self._crops, [2 * batch_size, *_CROP])
            if is_gray_possible:
                crops = tf.where(self._is_gray, _gray(crops), tf.cast(crops, tf.float32))
            self.exemplars, self.instances = tf.split(change(crops, self._changes, side), 2)

    def reserve(self, session: tf.Session) -> bool:
        """Take the memory of the crops to keep; return whether the device has that much."""
        try:
            if self._kept:
                self._kept.clear(session)
        except tf.errors.ResourceExhaustedError:
            self._kept = None  # every batch is fed
        return self._kept is not None

    def feeds(self, batch: CropBatch) -> dict[tf.Tensor, Any]:
        """Return what to feed for a batch."""
        feeds = {self._changes: batch.changes, self._is_gray: batch.is_gray}
        if self._kept:
            feeds.update({self._new: self._kept.stored(batch.crops), self._slots: batch.slots,
                          self._chosen: batch.chosen})
        else:
            feeds[self._crops] = batch.crops
        return feeds


def change(crops: tf.Tensor, changes: tf.Tensor, side: int) -> tf.Tensor:
    """Change crops as `transforms.change` does: float32 [num, side, side, 3].

    Args:
        crops: uint8 or float32 [num, 255, 255, 3].
        changes: int32 [num, 3].
        side: of the images, pixels.
    """
    stretched, offsets = changes[:, :1] * [1, 1], changes[:, 1:]
    missing, excess = tf.maximum(PADDED_SIDE - stretched, 0), tf.maximum(stretched - PADDED_SIDE, 0)
    before = missing // 2
    padding = tf.pad(tf.stack([before, missing - before], axis=2), [[0, 0], [0, 1], [0, 0]])  # no channels
    begin = tf.pad(excess // 2 + offsets, [[0, 0], [0, 1]])
    made = []
    # one image at a time, since a resize op has one size; it is three times as fast on a CPU as gathering neighbours
    for number, crop in enumerate(tf.split(tf.cast(crops, tf.float32), int(crops.shape[0]))):
        resized = tf.image.resize_bilinear(crop, stretched[number])[0]
        made.append(tf.slice(tf.pad(resized, padding[number]), begin[number], [side, side, 3]))
    return tf.stack(made)


def _gray(crops: tf.Tensor) -> tf.Tensor:
    """Do what `transforms.gray` does: uint8 [num, 255, 255, 3] to float32."""
    values = tf.round(tf.reduce_sum(tf.cast(crops, tf.float64) * GRAY_OF_RGB, axis=3, keepdims=True))
    return tf.tile(tf.cast(values, tf.float32), [1, 1, 1, 3])
