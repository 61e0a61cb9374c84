"""Where batches of images wait on the device for their steps."""
from __future__ import annotations

from typing import Sequence

from common.graph.compat import tf

_NAME = "staged_images"


class Stage:
    """A queue on the device: a step takes the batch that was put first, or waits for it.

    Attributes:
        images: float32 [batch, side, side, 3], the batch that the step takes.
    """

    def __init__(self, shape: Sequence[int]):
        """Build the exit in the default graph; `shape` is that of a batch."""
        self.images, = tf.raw_ops.Unstage(dtypes=[tf.float32], shared_name=_NAME)
        self.images.set_shape(shape)

    def put(self, images: tf.Tensor) -> tf.Operation:
        """Return an op that copies a batch to the device."""
        return tf.raw_ops.Stage(values=[images], shared_name=_NAME)
