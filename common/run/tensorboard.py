"""Images and histograms for TensorBoard, which metrics.jsonl has no place for. No TensorFlow.

They lie in a folder of their own: unlike the events of numbers they cannot be made again when a run goes on.
"""
from __future__ import annotations

import io
import os
import time
from typing import Any, Callable

import numpy as np

FOLDER = os.path.join("events", "images")
HISTOGRAM_BINS = 30


class ImageEvents:
    """Writes one event file, made at the first image; without the tensorboard package, a warning and nothing."""

    def __init__(self, run_path: str, warn: Callable[[str], None] = print):
        """Say where.

        Args:
            run_path: the run directory.
            warn: takes a line when tensorboard is missing.
        """
        self._folder = os.path.join(run_path, FOLDER)
        self._warn = warn
        self._writer: Any = None
        self._is_missing = False

    def add_image(self, step: int, tag: str, image: np.ndarray) -> None:
        """Write an image.

        Args:
            step: updates made.
            tag: its name.
            image: uint8 [height, width, 3], RGB; or float [height, width], drawn from black, its least, to white.
        """
        from PIL import Image

        if image.dtype != np.uint8:
            low, high = float(image.min()), float(image.max())
            image = np.uint8(np.round((image - low) * (255.0 / (high - low) if high > low else 0.0)))
            image = np.repeat(image[..., None], 3, axis=2)
        png = io.BytesIO()
        Image.fromarray(image).save(png, "PNG")
        self._add(step, tag, lambda summary: dict(image=summary.Image(
            height=image.shape[0], width=image.shape[1], colorspace=3, encoded_image_string=png.getvalue())))

    def add_histogram(self, step: int, tag: str, values: np.ndarray) -> None:
        """Write how values are distributed; finite ones, of any shape."""
        flat = np.asarray(values, np.float64).reshape(-1)
        counts, edges = np.histogram(flat, HISTOGRAM_BINS)

        def content(summary: Any) -> dict:
            histogram = type(summary.Value().histo)(
                min=flat.min(), max=flat.max(), num=flat.size, sum=flat.sum(), sum_squares=np.square(flat).sum(),
                bucket_limit=edges[1:], bucket=counts)
            return dict(histo=histogram)

        self._add(step, tag, content)

    def _add(self, step: int, tag: str, content: Callable[[Any], dict]) -> None:
        if self._is_missing:
            return
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as error:
            self._is_missing = True
            self._warn(f"Warning: no images for TensorBoard ({error}); pip install tensorboard")
            return
        if self._writer is None:
            self._writer = EventFileWriter(self._folder)
        value = summary_pb2.Summary.Value(tag=tag, **content(summary_pb2.Summary))
        self._writer.add_event(event_pb2.Event(step=step, wall_time=time.time(),
                                               summary=summary_pb2.Summary(value=[value])))

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
