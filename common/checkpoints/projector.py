"""Embeddings for TensorBoard's projector: points, labels and pictures.

They are shown by `tensorboard --logdir=<run directory>/evaluate/projector`.
"""
from __future__ import annotations

import io
import os
from typing import Any, Callable, Mapping, Sequence

import numpy as np
from PIL import Image

from common import atomic_files
from common.checkpoints.trained import Checkpoint
from common.cli.parser import FlagSet
from common.run.run_dir import PROJECTOR

MAX_POINTS = 5000  # more are slow in a browser
MAX_NUMBERS = 4_000_000  # points times dimensions, about 32 MB of text
SIDE = 48  # of a picture; all of them make one square picture, the sprite
_BILINEAR = 2  # PIL.Image.BILINEAR, whose name differs between versions
# The text form of tensorboard.plugins.projector.ProjectorConfig.
_CONFIG = """\
embeddings {{
  tensor_name: "embeddings"
  tensor_shape: {num}
  tensor_shape: {dim}
  tensor_path: "tensors.tsv"
  metadata_path: "metadata.tsv"
  sprite {{ image_path: "sprite.png" single_image_dim: {side} single_image_dim: {side} }}
}}
"""


def define_flag(flags: FlagSet) -> None:
    """Define the flag that asks for these files."""
    flags.evaluation.boolean("projector", False, "Write the embeddings for TensorBoard's projector.")


def write(checkpoint: Checkpoint, embeddings: np.ndarray, columns: Mapping[str, Sequence[Any]],
          image_of: Callable[[int], np.ndarray]) -> None:
    """Write projector/ into the output folder for float32 [num, dim]; of too many points, every n-th.

    `columns` are two or more labels of each point, by the name of their column; `image_of` returns the image of a
    point, uint8 [height, width, 3] RGB or [height, width] gray.
    """
    num, dim = embeddings.shape
    chosen = range(0, num, max(1, -(-num // MAX_POINTS), -(-num * dim // MAX_NUMBERS)))
    folder = checkpoint.file(PROJECTOR)
    os.makedirs(folder, exist_ok=True)
    points = ["\t".join(f"{value:.6g}" for value in embeddings[index]) for index in chosen]
    labels = ["\t".join(" ".join(str(values[index]).split()) or "-" for values in columns.values()) for index in chosen]
    atomic_files.write_text(os.path.join(folder, "tensors.tsv"), "\n".join(points) + "\n")
    atomic_files.write_text(os.path.join(folder, "metadata.tsv"), "\n".join(["\t".join(columns), *labels]) + "\n")
    atomic_files.write_bytes(os.path.join(folder, "sprite.png"), _sprite([image_of(index) for index in chosen]))
    atomic_files.write_text(os.path.join(folder, "projector_config.pbtxt"),
                            _CONFIG.format(num=len(chosen), dim=dim, side=SIDE))


def _sprite(images: Sequence[np.ndarray]) -> bytes:
    """Return a PNG of images in rows, as many as columns; images keep their aspect ratio."""
    columns = int(np.ceil(np.sqrt(len(images))))
    sprite = Image.new("RGB", (columns * SIDE, columns * SIDE), "white")
    for index, pixels in enumerate(images):
        image = Image.fromarray(pixels).convert("RGB")
        scale = SIDE / max(image.size)
        size = (max(1, round(scale * image.width)), max(1, round(scale * image.height)))
        sprite.paste(image.resize(size, _BILINEAR), (index % columns * SIDE, index // columns * SIDE))
    content = io.BytesIO()
    sprite.save(content, "PNG")
    return content.getvalue()
