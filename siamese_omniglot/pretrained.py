"""Initial weights from an HDF5 file of Keras: the published ones of VGG16, or those of a whole network."""
from __future__ import annotations

import os
from typing import Any, Mapping

from common.checkpoints import h5_weights

VGG16_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
_ADVICE = (f"get {VGG16_FILE} from https://storage.googleapis.com/tensorflow/keras-applications/vgg16/, or take "
           "--weights=none for random ones")


def find(flag: str | None, model_root: str) -> str | None:
    """Return the path that --weights names, also relative to the model; None for "none"; ZooError if it is missing."""
    if flag in (None, "none"):
        return None
    return h5_weights.find(flag, [os.path.abspath(os.path.expanduser(flag)), os.path.join(model_root, flag)], _ADVICE)


def load(variables: Mapping[str, Any], path: str) -> list[str]:
    """Assign variables, given by `layer/variable`; return a line about those of the dense layers that the file lacks.

    Raises ZooError if the file is damaged, has another layout, lacks a convolution, or has a variable of another shape.
    """
    missing = h5_weights.load(path, variables, _ADVICE, [name for name in variables if name.startswith("dense")])
    return [f"Not in {path}, so random: {', '.join(missing)}"] if missing else []
