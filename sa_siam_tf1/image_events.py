"""Images and histograms for TensorBoard."""
from __future__ import annotations

import io
import os
from typing import Any

import numpy as np
from PIL import Image

from common.graph.compat import tf
from common.run.tensorboard import EventWriter

HISTOGRAM_BINS = 30


class ImageEvents:
    """An event file, made at the first value; a resumed run adds another one."""

    def __init__(self, folder: str):
        self._folder = folder
        self._writer: EventWriter | None = None

    def add_image(self, step: int, tag: str, image: np.ndarray) -> None:
        """Write an image.

        Args:
            step: updates made.
            tag: its name.
            image: uint8 [height, width, 3], RGB; or float [height, width], whose lowest value is drawn black and
                whose highest white.
        """
        if image.dtype != np.uint8:
            low, high = float(image.min()), float(image.max())
            image = np.uint8(np.round((image - low) * (255.0 / (high - low) if high > low else 0.0)))
            image = np.repeat(image[..., None], 3, axis=2)
        png = io.BytesIO()
        Image.fromarray(image).save(png, "PNG")
        self._add(step, tag, image=tf.Summary.Image(height=image.shape[0], width=image.shape[1], colorspace=3,
                                                    encoded_image_string=png.getvalue()))

    def add_histogram(self, step: int, tag: str, values: np.ndarray) -> None:
        """Write the distribution of finite values of any shape."""
        flat = np.asarray(values, np.float64).reshape(-1)
        counts, edges = np.histogram(flat, HISTOGRAM_BINS)
        self._add(step, tag, histo=tf.HistogramProto(
            min=flat.min(), max=flat.max(), num=flat.size, sum=flat.sum(), sum_squares=np.square(flat).sum(),
            bucket_limit=edges[1:], bucket=counts))

    def _add(self, step: int, tag: str, **content: Any) -> None:
        if self._writer is None:
            os.makedirs(self._folder, exist_ok=True)
            self._writer = EventWriter(self._folder, tf)
        self._writer.add(step, [tf.Summary.Value(tag=tag, **content)])

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
