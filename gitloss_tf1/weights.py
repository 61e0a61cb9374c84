"""Trained weights, ready to use: what evaluate, predict and export share."""
from __future__ import annotations

import os

import numpy as np

from common import checkpoints
from common.program import ZooError
from common.tf1 import tf
from common.trained import Trained
from gitloss_tf1.model import ForwardGraph, build_centers, build_forward
from gitloss_tf1.network import IMAGE_SHAPE
from gitloss_tf1.training import MEAN_IMAGE


def restore(session: tf.Session, trained: Trained, batch_size: int | None) -> tuple[ForwardGraph, np.ndarray]:
    """Build the forward graph in the default graph and restore it.

    Args:
        session: on the default graph.
        trained: which weights.
        batch_size: images in a batch, None for any number.

    Returns:
        The graph, and the trained centers, float32 [10, 2].
    """
    graph = build_forward(batch_size, seed=0, reuse=False)
    centers = build_centers()
    restore_into(session, trained)
    return graph, session.run(centers)


def restore_into(session: tf.Session, trained: Trained) -> None:
    """Restore all variables of the default graph."""
    checkpoints.restore_all(session, trained.prefix, tf.global_variables())


def run_mean_image(trained: Trained) -> np.ndarray | None:
    """Return the mean image that the run was trained with, float32 [28, 28, 1]; None for a checkpoint without run.

    Raises:
        ZooError: the run's file is damaged.
    """
    if trained.run_path is None:
        return None
    path = os.path.join(trained.run_path, MEAN_IMAGE)
    try:
        mean_image = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ZooError(f"{path}: cannot be read ({error})") from None
    if mean_image.shape != IMAGE_SHAPE or mean_image.dtype != np.float32:
        raise ZooError(f"{path}: {mean_image.dtype} {mean_image.shape}, expected float32 {IMAGE_SHAPE}")
    return mean_image
