"""LFW: embeddings of the pairs' images, then the protocol."""
from __future__ import annotations

from typing import Callable, Sequence

import numpy as np

from circleloss_tf1 import lfw, model
from circleloss_tf1.face_images import THREADS, DamagedImages, ImageFeed
from circleloss_tf1.lfw import Pairs
from circleloss_tf1.recipe import NetworkSettings
from common import console
from common.cli.parser import FlagValues
from common.data.batching import full_batches
from common.graph.compat import tf


class Embedder:
    """Embeds images in full batches, in the given order."""

    def __init__(self, batch_size: int, network: NetworkSettings, use_flipped_images: bool = False,
                 getter: Callable | None = None, reuse: bool = False, threads: int = THREADS):
        """Build pipeline and network in the default graph; `getter` and `reuse` are those of `model.embed`."""
        self.feed = ImageFeed(batch_size, network, threads=threads)
        self._batch_size, self._network, self._flipped = batch_size, network, use_flipped_images
        self._images = model.image_placeholder(batch_size, network)
        self._embeddings = model.embed(self._images, network, getter, reuse)

    def embed(self, session: tf.Session, paths: Sequence[str], after_batch: Callable[[int], None] = lambda batch: None,
              leave_out: Callable[[str, str], None] | None = None) -> np.ndarray:
        """Return embeddings, float32 [images, dim], L2-normalised.

        The last batch is filled with images from the beginning, so that batch statistics are those of real images.
        Raises ZooError if an image cannot be read.

        Args:
            session: holds the weights.
            paths: the images.
            after_batch: called with the index of each batch; may raise to end early.
            leave_out: takes the path of an image that cannot be read, and why; it is left out. None: it is an error.
        """
        results: list[np.ndarray] = []
        while len(results) * self._batch_size < len(paths):
            batches = full_batches(len(paths), self._batch_size, wrap=True)[len(results):]
            self.feed.start(session, [paths[row] for row in batches.flat])
            try:
                for _ in console.progress(batches, "embeddings", "batch"):
                    results.append(self._embed(session, self.feed.next(session)))
                    after_batch(len(results) - 1)
            except DamagedImages as error:
                if leave_out is None:
                    raise
                begin = len(results) * self._batch_size
                bad = {(begin + place) % len(paths): reason for place, reason in error.reasons.items()}
                for row, reason in sorted(bad.items()):
                    leave_out(paths[row], reason)
                paths = [path for row, path in enumerate(paths) if row not in bad]
        dim = int(self._embeddings.shape[1])
        return np.concatenate(results)[:len(paths)] if results else np.empty((0, dim), np.float32)

    def embed_pairs(self, session: tf.Session, pairs: Pairs,
                    after_batch: Callable[[int], None] = lambda batch: None) -> np.ndarray:
        """Return embeddings of the pairs' images, float32 [2 * pairs, dim]; arguments as those of `embed`.

        With batch statistics an embedding depends on its batch, so the original's order, pair by pair, has to be kept;
        else an image of several pairs is embedded once.
        """
        if self._network.switches.batch_norm == "batch":
            return self.embed(session, pairs.paths, after_batch)
        unique, rows = np.unique(np.array(pairs.paths, object), return_inverse=True)
        return self.embed(session, list(unique), after_batch)[rows]

    def _embed(self, session: tf.Session, images: np.ndarray) -> np.ndarray:
        embeddings = session.run(self._embeddings, {self._images: images})
        if self._flipped:
            embeddings = embeddings + session.run(self._embeddings, {self._images: images[:, :, ::-1]})
            embeddings /= np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-10)
        return embeddings


def verify(embeddings: np.ndarray, pairs: Pairs, flags: FlagValues) -> lfw.Verification:
    """Run the protocol on the pairs' embeddings; `flags` are those of `lfw.define_flags`."""
    return lfw.verify(embeddings, pairs.is_same, flags.lfw_nrof_folds, int(flags.lfw_distance_metric),
                      flags.lfw_subtract_mean)
