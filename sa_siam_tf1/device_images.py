"""Training batches whose images are made on the device, from crops of 255 x 255 pixels as they are decoded.

On a CPU the images are those of `dataloader.change`, bit for bit: TensorFlow's resize op computes the same numbers.
"""
from __future__ import annotations

from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np

from common.graph.compat import ResidentArray, tf
from sa_siam_tf1.configuration import CURATED_SIDE, TrainConfig
from sa_siam_tf1.datasets.dataloader import GRAY_OF_RGB, PADDED_SIDE, Drawn, ReadAhead

_CROP = (CURATED_SIDE, CURATED_SIDE, 3)


class CropBatch(NamedTuple):
    """A batch of pairs whose images are still to be made: all exemplars, then all instances."""

    crops: np.ndarray  # uint8 [num, 255, 255, 3], RGB: all crops, or those that the device does not have yet
    slots: np.ndarray  # int64 [num], where the device keeps them
    chosen: np.ndarray  # int64 [2 batch], the slot of each image's crop
    is_gray: np.ndarray  # bool [2 batch]
    changes: np.ndarray  # int32 [2 batch, 3], a `dataloader.Change` of each image


class CropBatches(ReadAhead):
    """The batches of `TrainingBatches`, without their images.

    With `keeps_crops` every crop has a slot on the device and is read once, for the first batch that needs it; without,
    the slots of a batch are those of its own crops.
    """

    def __init__(self, tracks: list, config: TrainConfig, side: int, keeps_crops: bool):
        super().__init__(tracks, config, side)
        crops = dict.fromkeys(crop for track in tracks for crop in track) if keeps_crops else ()
        self._slots = {crop: slot for slot, crop in enumerate(crops)}
        self._unread = set(self._slots)

    def batch(self, step: int) -> CropBatch:
        """Return the batch of the step after `step` updates. The first step may be any; the others follow in order."""
        drawn, futures = zip(*self._take(step))
        crops = _one_after_another([one.crops for one in drawn])
        chosen = np.array([self._slots[crop] for crop in crops] if self._slots else np.arange(len(crops)))
        read = _one_after_another(futures)
        is_read = np.array([future is not None for future in read])
        pixels = np.empty((is_read.sum(), *_CROP), np.uint8)
        for target, future in zip(pixels, filter(None, read)):
            target[...] = future.result()
        return CropBatch(pixels, chosen[is_read], chosen, np.array([one.is_gray for one in drawn] * 2),
                         np.array(_one_after_another([one.changes for one in drawn]), np.int32))

    def _read_ahead(self, drawn: Drawn) -> list[Future | None]:
        return [self._read(crop) for crop in drawn.crops]

    def _read(self, crop: Any) -> Future | None:
        if self._slots:
            if crop not in self._unread:
                return None
            self._unread.remove(crop)
        return self._pool.submit(crop.read)


def _one_after_another(pairs: Any) -> list:
    """Return what belongs to all exemplars, then what belongs to all instances."""
    return [one for part in zip(*pairs) for one in part]


class DeviceImages:
    """The inputs of a training graph.

    Attributes:
        exemplars: float32 [batch, side, side, 3], RGB, 0 to 255.
        instances: the same.
    """

    def __init__(self, batch_size: int, side: int, num_kept: int, is_gray_possible: bool):
        """Build the part of the graph in the default graph.

        `num_kept` is the number of crops to keep on the device; 0 feeds the crops of every batch.
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
    """Change crops, [num, 255, 255, 3], as `dataloader.change` does: float32 [num, side, side, 3]."""
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
    """Do what `dataloader.gray` does: uint8 [num, 255, 255, 3] to float32."""
    values = tf.round(tf.reduce_sum(tf.cast(crops, tf.float64) * GRAY_OF_RGB, axis=3, keepdims=True))
    return tf.tile(tf.cast(values, tf.float32), [1, 1, 1, 3])
