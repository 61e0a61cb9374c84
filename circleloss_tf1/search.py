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
from circleloss_tf1.measured import Measured
from circleloss_tf1.recipe import NetworkSettings
from common.checkpoints import bundle
from common.checkpoints.trained import Checkpoint
from common.data import kept_embeddings
from common.data.left_out import LeftOut
from common.graph.compat import tf

BATCH_SIZE = 32


class FaceSearch:
    """Embeds faces with the weights of a checkpoint."""

    def __init__(self, session: tf.Session, checkpoint: Checkpoint, network: NetworkSettings, use_averages: bool,
                 measured: Measured):
        """Prepare; the network is built when it is needed.

        Args:
            session: a session of an empty graph.
            checkpoint: the weights; the index is in its output folder.
            network: the network and its input.
            use_averages: see `restore.embedder`.
            measured: images around the queries, and the size of their batch.
        """
        self._build = functools.partial(restore.embedder, session, checkpoint, network, use_flipped_images=False,
                                        use_averages=use_averages)
        self._settings: list[Any] = [bundle.fingerprint(checkpoint.prefix), dataclasses.asdict(network), use_averages]
        self._index_path = os.path.join(checkpoint.output_folder, kept_embeddings.FILE)
        self._measured = measured
        self._context = [path for path in measured.images if os.path.exists(path)]
        self.needs_context = network.switches.batch_norm == "batch"

    @property
    def lacks_context(self) -> bool:
        """Whether a pair is normalized with its own two images only."""
        return self.needs_context and not self._context

    def embed_pair(self, first: str, second: str) -> np.ndarray:
        """Return the embeddings of two faces, float32 [2, dim]."""
        batch_size = self._measured.batch_size or 2
        context = self._context[:batch_size - 2] if self.needs_context else []
        return _embed(self._build(batch_size=2 + len(context)), [first, second, *context])[:2]

    def embed(self, queries: Sequence[str], faces: Sequence[str], left_out: LeftOut
              ) -> tuple[list[str], np.ndarray, np.ndarray, dict[str, Any]]:
        """Embed queries and faces.

        Args:
            queries: the queries.
            faces: the faces to search.
            left_out: gets the faces that cannot be read.

        Returns:
            The other faces, the embeddings of the queries and of these faces, float32 [num, dim], and what to report
            about the index.
        """
        if self.needs_context:
            batch_size = self._measured.batch_size or BATCH_SIZE
            embedder = self._build(batch_size=batch_size)
            faces = _readable(embedder, [*queries, *faces], faces, left_out)
            index = self._index(batch_size, kept_embeddings.state_of(faces))
            of_faces = index.embed(faces, functools.partial(_embed, embedder))
            context = (self._context or faces)[:max(batch_size - len(queries), 0)]
            of_queries = _embed(embedder, [*queries, *context])[:len(queries)]
        else:
            index = self._index()
            missing = index.missing([*queries, *faces])
            if missing:
                embedder = self._build(batch_size=min(BATCH_SIZE, len(missing)))
                faces = _readable(embedder, missing, faces, left_out)
            embeddings = index.embed([*queries, *faces], lambda paths: _embed(embedder, paths))
            of_queries, of_faces = np.split(embeddings, [len(queries)])
        report = dict(path=index.path, images=index.num_used, computed=index.num_computed)
        return list(faces), of_queries, of_faces, report

    def _index(self, *more: int) -> kept_embeddings.KeptEmbeddings:
        return kept_embeddings.KeptEmbeddings(self._index_path, json.dumps([*self._settings, *more]))


def _readable(embedder: Embedder, checked: Sequence[str], faces: Sequence[str], left_out: LeftOut) -> list[str]:
    """Return the faces without those that turn out to be unreadable when `checked` are decoded."""
    for path, reason in embedder.find_bad(list(dict.fromkeys(checked))).items():
        left_out.add(path, reason)
    return left_out.rest_of(faces)


def _embed(embedder: Embedder, paths: Sequence[str]) -> np.ndarray:
    return embedder.embed([os.fsencode(path) for path in paths])
