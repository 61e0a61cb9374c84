"""The network with trained weights, for evaluate, predict and export. Embeddings of files are cached."""
from __future__ import annotations

import json
import os
from typing import Sequence

import numpy as np

from common.checkpoints import bundle
from common.checkpoints.trained import Checkpoint
from common.cli import shared_flags
from common.data.kept_embeddings import FILE, KeptEmbeddings
from common.errors import ZooError
from common.keras import checkpoints
from common.keras.session import tf
from siamese_triplet_tf2 import bad_images, evaluation, features
from siamese_triplet_tf2.model import FLAT_SIZES, build_embedding, variable_names
from siamese_triplet_tf2.recipe import Switches


class TrainedEmbedding:
    """The network, with the settings of its run for reading images."""

    def __init__(self, checkpoint: Checkpoint, upright: bool | None = None, background: str = "white"):
        """Build the network and restore its weights; `upright` applies the EXIF orientation, None as the run does.

        Raises ZooError if the checkpoint is damaged or of another model.
        """
        identity = checkpoint.run_identity()
        switches = shared_flags.from_identity(Switches, identity)
        self.decoding = features.Decoding(
            switches.accurate_jpeg, switches.exif_orientation if upright is None else upright, background)
        self.input_scale: str = switches.input_scale
        self.prefix = checkpoint.prefix
        backbone = identity.get("backbone") or _backbone_of(checkpoint.prefix)
        self.model = build_embedding(backbone, seed=0)
        whole = self.model.whole
        checkpoints.restore_all(checkpoint.prefix, dict(zip(variable_names(whole), whole.weights)))
        self._kept = KeptEmbeddings(
            os.path.join(checkpoint.output_folder, FILE),
            json.dumps([bundle.fingerprint(self.prefix), self.decoding, self.input_scale]))

    def find_bad(self, paths: Sequence[str]) -> dict[str, str]:
        """Find files that cannot be used as images; those in the cache can. Return the reasons by path."""
        return bad_images.find(self._kept.missing(paths))

    def embed(self, paths: Sequence[str]) -> np.ndarray:
        """Return embeddings of good image files, float32 [len(paths), 256], from the cache where possible."""
        return self._kept.embed(paths, self._compute)

    def _compute(self, paths: list[str]) -> np.ndarray:
        source = features.ImageFeatures(self.model.frozen, paths, self.decoding, self.input_scale)
        return evaluation.embed(evaluation.compiled(self.model.tail), source, np.arange(len(paths)))


def _backbone_of(prefix: str) -> str:
    rows = bundle.shapes_in(prefix, tf).get("dense/kernel", [0])[0]
    for backbone, shape in FLAT_SIZES.items():
        if rows == shape:
            return backbone
    raise ZooError(f"{prefix}: not a checkpoint of this model (its dense/kernel has {rows} rows)")


def image_of(path: str, background: str = "white") -> np.ndarray:
    """Decode a file for display, uint8 [200, 200, 3]."""
    how = features.Decoding(accurate=True, upright=True, background=background)
    return (features.decode(path, how).numpy() * 255.0).round().astype(np.uint8)
