"""Embeddings of queries and of the faces that they are compared with; those of a search are kept in an index.

With batch statistics an embedding depends on the images of its batch. Then a pair, or the queries of a search, are
embedded among images of LFW, and the index holds for exactly the faces that it was made of.
"""
from __future__ import annotations

import dataclasses
import functools
import json
import os
from typing import Any, Sequence

import numpy as np

from circleloss_tf1 import restore
from circleloss_tf1.evaluation import Embedder
from circleloss_tf1.recipe import NetworkSettings
from circleloss_tf1.thresholds import Measured
from common import console
from common.checkpoints import bundle
from common.checkpoints.trained import Checkpoint
from common.data import kept_embeddings
from common.data.image_search import LeftOut
from common.graph.compat import tf

BATCH_SIZE = 32


class FaceSearch:
    """Embeds faces with the weights of a checkpoint."""

    def __init__(self, session: tf.Session, checkpoint: Checkpoint, network: NetworkSettings, measured: Measured,
                 use_averages: bool):
        """Prepare, in a session of an empty graph; the network is built when it is needed.

        The index is in the checkpoint's output folder. Queries are embedded among the images that were measured, as far
        as they are still there, in batches of the same size.
        """
        self._session = session
        self._build = functools.partial(restore.embedder, session, checkpoint, network, use_flipped_images=False,
                                        use_averages=use_averages)
        self._settings: list[Any] = [bundle.fingerprint(checkpoint.prefix), dataclasses.asdict(network), use_averages]
        self._index_path = os.path.join(checkpoint.output_folder, kept_embeddings.FILE)
        self._context, self._batch_size = list(filter(os.path.exists, measured.images)), measured.batch_size
        self.needs_context = network.switches.batch_norm == "batch"
        self.batch_size = 0  # of the batch that a query was in

    def embed_pair(self, first: str, second: str) -> np.ndarray:
        """Return the embeddings of two faces, float32 [2, dim]."""
        context = self._context[:(self._batch_size or 2) - 2] if self.needs_context else []
        self.batch_size = 2 + len(context)
        return self._build(batch_size=self.batch_size).embed(self._session, [first, second, *context])[:2]

    def embed(self, queries: Sequence[str], faces: Sequence[str], left_out: LeftOut
              ) -> tuple[list[str], np.ndarray, np.ndarray, dict[str, Any]]:
        """Return readable faces, embeddings of queries and of them, float32 [num, dim], and a report on the index."""
        if self.needs_context:
            self.batch_size = batch_size = self._batch_size or BATCH_SIZE
            embedder = self._build(batch_size=batch_size)
            for path, reason in self._find_bad(embedder, queries).items():
                left_out.add(path, reason)
            index = self._index(batch_size, kept_embeddings.state_of(faces))
            missing = index.missing(faces)
            if len(missing) < len(faces) and len(self._find_bad(embedder, missing)) < len(missing):
                index.clear()  # a face that was left out can be read now
            of_faces = index.embed(faces, functools.partial(self._embed_readable, embedder, left_out))
            faces = left_out.rest_of(faces)
            context = (self._context or faces)[:max(batch_size - len(queries), 0)]
            of_queries = embedder.embed(self._session, [*queries, *context])[:len(queries)]
        else:
            index = self._index()
            embeddings = index.embed([*queries, *faces], lambda missing: self._embed_readable(
                self._build(batch_size=min(BATCH_SIZE, len(missing))), left_out, missing))
            faces = left_out.rest_of(faces)
            of_queries, of_faces = np.split(embeddings, [len(queries)])
        report = dict(path=index.path, images=index.num_used, computed=index.num_computed)
        return list(faces), of_queries, of_faces, report

    def _index(self, *more: int) -> kept_embeddings.KeptEmbeddings:
        return kept_embeddings.KeptEmbeddings(self._index_path, json.dumps([*self._settings, *more]))

    def _find_bad(self, embedder: Embedder, paths: Sequence[str]) -> dict[str, str]:
        """Return why images cannot be read, by path."""
        reasons = {path: embedder.feed.reason(self._session, os.fsencode(path))
                   for path in console.progress(paths, "checking images", "image")}
        return {path: reason for path, reason in reasons.items() if reason}

    def _embed_readable(self, embedder: Embedder, left_out: LeftOut, paths: Sequence[str]) -> list[np.ndarray | None]:
        """Return the embeddings of faces, None for those that cannot be read, which are left out."""
        found = iter(embedder.embed(self._session, paths, leave_out=left_out.add))
        return [None if path in left_out.reasons else next(found) for path in paths]
