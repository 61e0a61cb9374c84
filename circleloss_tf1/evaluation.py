"""LFW: embeddings of the pairs' images, then the protocol."""
from __future__ import annotations

import os
from typing import Callable, Sequence

import numpy as np

from circleloss_tf1 import lfw
from circleloss_tf1.face_images import DamagedImages, ImageFeed
from circleloss_tf1.lfw import Pairs
from circleloss_tf1.model import ForwardGraph
from common import console
from common.cli.parser import FlagValues
from common.data.batching import full_batches
from common.graph.compat import tf


class Embedder:
    """Embeds images in full batches, in the given order."""

    def __init__(self, session: tf.Session, feed: ImageFeed, graph: ForwardGraph, use_flipped_images: bool = False):
        """Use a pipeline and an inference graph of the same batch size."""
        self._session, self._feed, self._graph, self._flipped = session, feed, graph, use_flipped_images
        self._batch_size, self._dim = int(graph.images.shape[0]), int(graph.embeddings.shape[1])

    def embed(self, paths: Sequence[bytes], after_batch: Callable[[int], None] = lambda batch: None,
              leave_out: Callable[[str, str], None] | None = None) -> np.ndarray:
        """Return embeddings, float32 [images, dim], L2-normalised.

        The last batch is filled with images from the beginning, so that batch statistics are those of real images.
        Raises ZooError if an image cannot be read.

        Args:
            paths: the images.
            after_batch: called with the index of each batch; may raise to end early.
            leave_out: takes the path of an image that cannot be read, and why; it is left out. None: it is an error.
        """
        results: list[np.ndarray] = []
        while len(results) * self._batch_size < len(paths):
            batches = full_batches(len(paths), self._batch_size, wrap=True)[len(results):]
            self._feed.start(self._session, [paths[row] for row in batches.flat])
            try:
                for _ in console.progress(batches, "embeddings", "batch"):
                    results.append(self._embed(self._feed.next(self._session)))
                    after_batch(len(results) - 1)
            except DamagedImages as error:
                if leave_out is None:
                    raise
                begin = len(results) * self._batch_size
                bad = {(begin + place) % len(paths): reason for place, reason in error.reasons.items()}
                for row, reason in sorted(bad.items()):
                    leave_out(os.fsdecode(paths[row]), reason)
                paths = [path for row, path in enumerate(paths) if row not in bad]
        return np.concatenate(results)[:len(paths)] if results else np.empty((0, self._dim), np.float32)

    def find_bad(self, paths: Sequence[str]) -> dict[str, str]:
        """Find images that cannot be read; return by path a line that names the image and says why."""
        reasons = {path: self._feed.reason(self._session, os.fsencode(path))
                   for path in console.progress(paths, "checking images", "image")}
        return {path: reason for path, reason in reasons.items() if reason}

    def _embed(self, images: np.ndarray) -> np.ndarray:
        embeddings = self._forward(images)
        if self._flipped:
            embeddings = embeddings + self._forward(images[:, :, ::-1])
            embeddings /= np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-10)
        return embeddings

    def _forward(self, images: np.ndarray) -> np.ndarray:
        return self._session.run(self._graph.embeddings, {self._graph.images: images})


def embed_pairs(embedder: Embedder, pairs: Pairs, batch_norm: str,
                after_batch: Callable[[int], None] = lambda batch: None) -> np.ndarray:
    """Return embeddings of the pairs' images, float32 [2 * pairs, dim].

    With batch statistics an embedding depends on its batch, so the original's order, pair by pair, has to be kept; else
    an image of several pairs is embedded once. `after_batch` is that of `Embedder.embed`.
    """
    encoded = [path.encode("utf-8", "surrogateescape") for path in pairs.paths]
    if batch_norm == "batch":
        return embedder.embed(encoded, after_batch)
    unique, rows = np.unique(np.array(encoded, object), return_inverse=True)
    return embedder.embed(list(unique), after_batch)[rows]


def verify(embeddings: np.ndarray, pairs: Pairs, flags: FlagValues) -> lfw.Verification:
    """Run the protocol on the pairs' embeddings; `flags` are those of `lfw.define_flags`."""
    return lfw.verify(embeddings, pairs.is_same, flags.lfw_nrof_folds,
                               int(flags.lfw_distance_metric), flags.lfw_subtract_mean)
