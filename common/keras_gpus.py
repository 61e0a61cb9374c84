"""GPUs of a process that is one of several."""
from __future__ import annotations

import tensorflow as tf

from common.program import ZooError
from common.ranks import Rank


def require_one(rank: Rank, device_kind: str) -> None:
    """Check that one of several processes sees one GPU at most: TensorFlow's strategy would take all that it sees.

    Raises:
        ZooError: it sees more.
    """
    if rank.size == 1 or device_kind != "gpu":
        return
    num = len(tf.config.get_visible_devices("GPU"))
    if num > 1:
        raise ZooError(f"rank {rank.number} of {rank.size} sees {num} GPUs, expected one for each process: set another "
                       "CUDA_VISIBLE_DEVICES for each, or let --distributed=True --nproc_per_node=N start them")
