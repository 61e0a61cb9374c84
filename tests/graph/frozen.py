"""Exported graphs, run with TensorFlow alone."""
from __future__ import annotations

from typing import Mapping, Sequence

import numpy as np

from common.graph.compat import tf


def run_frozen(path: str, outputs: Sequence[str], feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Run a frozen graph; outputs and inputs are named without `:0`."""
    with tf.Graph().as_default(), tf.Session() as session:
        with open(path, "rb") as file:
            tf.import_graph_def(tf.GraphDef.FromString(file.read()), name="")
        return session.run([f"{name}:0" for name in outputs], {f"{name}:0": value for name, value in feeds.items()})
