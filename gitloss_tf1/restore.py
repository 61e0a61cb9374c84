"""Weights of a run, restored for evaluate, predict and export."""
from __future__ import annotations

import os
import tokenize

import numpy as np

from common.checkpoints.trained import Checkpoint
from common.errors import FlagError, ZooError
from common.graph import checkpoints
from common.graph.compat import tf
from gitloss_tf1 import mnist
from gitloss_tf1.model import IMAGE_SHAPE, ForwardGraph, build_forward
from gitloss_tf1.training import MEAN_IMAGE


def forward_graph(session: tf.Session, checkpoint: Checkpoint, batch_size: int) -> ForwardGraph:
    """Build the inference graph in the default graph and restore its variables."""
    graph = build_forward(batch_size)
    checkpoints.restore_all(session, checkpoint.prefix, tf.global_variables())
    return graph


def mean_image(checkpoint: Checkpoint, data_path: str | None) -> np.ndarray:
    """Return the mean image, float32 [28, 28, 1], that the weights were trained with.

    A run holds it, ZooError if its file is damaged; for a checkpoint outside of a run it is computed from the training
    data, FlagError without their path.
    """
    if checkpoint.run_path is not None:
        return _read(os.path.join(checkpoint.run_path, MEAN_IMAGE))
    if not data_path:
        raise FlagError("--data_path is needed for a checkpoint outside of a run: the mean image is computed from it")
    return mnist.load(mnist.find_folder(data_path)).mean_image


def _read(path: str) -> np.ndarray:
    try:
        with open(path, "rb") as file:
            image = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, tokenize.TokenError) as error:  # as numpy reads a header
        raise ZooError(f"{path}: cannot be read ({error})") from None
    if image.shape != IMAGE_SHAPE or image.dtype != np.float32:
        raise ZooError(f"{path}: {image.dtype} {image.shape}, expected float32 {IMAGE_SHAPE}")
    return image
