"""The network with trained weights, for evaluate, predict and export. Embeddings of files are cached."""
from __future__ import annotations

import json
import os
import zipfile
import zlib
from typing import Sequence

import numpy as np

from common import atomic_files
from common.checkpoints import bundle
from common.checkpoints.trained import Checkpoint
from common.cli import recipe
from common.errors import ZooError
from common.keras import checkpoints
from siamese_triplet_tf2 import bad_images, decoding, evaluation, features
from siamese_triplet_tf2.model import FLAT_SIZES, build_embedding, variable_names
from siamese_triplet_tf2.recipe import Switches

CACHE = "embeddings.npz"


class TrainedEmbedding:
    """The network, with the settings of its run for reading images."""

    def __init__(self, checkpoint: Checkpoint, upright: bool | None = None, background: str = "white"):
        """Build the network and restore its weights.

        Args:
            checkpoint: the chosen checkpoint.
            upright: apply the EXIF orientation of images; None for the setting of the run.
            background: background of transparent pixels.

        Raises:
            ZooError: the checkpoint is damaged or of another model.
        """
        identity = checkpoint.run_identity()
        switches = recipe.from_identity(Switches, identity)
        self.decoding = decoding.Decoding(
            switches.accurate_jpeg, switches.exif_orientation if upright is None else upright, background)
        self.input_scale: str = switches.input_scale
        self.prefix = checkpoint.prefix
        backbone = identity.get("backbone") or _backbone_of(checkpoint.prefix)
        self.model = build_embedding(backbone, seed=0)
        variables = checkpoints.named(variable_names(self.model.whole), self.model.whole.weights)
        checkpoints.restore_all(checkpoint.prefix, variables)
        self._folder = checkpoint.output_folder

    def embed(self, paths: Sequence[str]) -> np.ndarray:
        """Return embeddings of image files, float32 [len(paths), 256], from the cache where possible.

        Raises:
            ZooError: a file cannot be used as an image.
        """
        bad_images.require_good(paths)
        kept = self._read_cache()
        keys = [_key(path) for path in paths]
        missing = [path for path, key in zip(paths, keys) if key not in kept]
        if missing:
            source = features.FeatureSource(
                features.feature_function(self.model.frozen, missing, self.decoding, self.input_scale))
            computed = evaluation.embed(evaluation.compiled(self.model.tail), source, np.arange(len(missing)))
            kept.update(zip(map(_key, missing), computed))
            self._write_cache(kept)
        return np.stack([kept[key] for key in keys])

    def _fingerprint(self) -> str:
        return json.dumps([bundle.fingerprint(self.prefix), self.decoding, self.input_scale])

    def _read_cache(self) -> dict[str, np.ndarray]:
        path = os.path.join(self._folder, CACHE)
        if not zipfile.is_zipfile(path):
            return {}  # missing or damaged: compute all
        try:
            with np.load(path, allow_pickle=False) as archive:
                if str(archive["fingerprint"]) == self._fingerprint():
                    return dict(zip(archive["keys"].tolist(), archive["embeddings"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            pass  # damaged: compute all
        return {}

    def _write_cache(self, kept: dict[str, np.ndarray]) -> None:
        os.makedirs(self._folder, exist_ok=True)
        content = atomic_files.npz(fingerprint=np.array(self._fingerprint()), keys=np.array(list(kept)),
                            embeddings=np.stack(list(kept.values())))
        atomic_files.write_bytes(os.path.join(self._folder, CACHE), content)


def _key(path: str) -> str:
    """Return a name for the current content of an image file: path, size and time of the last change."""
    state = os.stat(path)
    return f"{zlib.crc32(os.path.abspath(path).encode('utf-8')):08x}-{state.st_size}-{state.st_mtime_ns}-" \
           f"{os.path.basename(path)}"


def _backbone_of(prefix: str) -> str:
    rows = checkpoints.shapes_in(prefix).get("dense/kernel", [0])[0]
    for backbone, shape in FLAT_SIZES.items():
        if rows == shape:
            return backbone
    raise ZooError(f"{prefix}: not a checkpoint of this model (its dense/kernel has {rows} rows)")


def image_of(path: str, background: str = "white") -> np.ndarray:
    """Decode a file for display, uint8 [200, 200, 3]."""
    how = decoding.Decoding(accurate=True, upright=True, background=background)
    return (decoding.decode(path, how).numpy() * 255.0).round().astype(np.uint8)
