"""The published weights of the backbone, from an HDF5 file of Keras."""
from __future__ import annotations

import os
from typing import Any

from common.checkpoints import h5_weights

FILE_NAME = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
FOLDER = "model"
MD5 = "4d473c1dd8becc155b73f8504c6f6626"  # published by Keras for its download of this file
_ADVICE = (f"get {FILE_NAME} (md5 {MD5}) from https://storage.googleapis.com/tensorflow/keras-applications/resnet/, "
           f"put it into {FOLDER}/ of the data folder, or use --weights=PATH; --weights=none uses random weights")


def find(flag: str | None, data_folder: str, backbone: str) -> str | None:
    """Return the path of the file with the weights, or None for random ones; the backbone "tiny" has no others.

    The flag is a path, "none", or None for the file in model/ of the data folder or beside it. Raises ZooError if there
    is no such file.
    """
    if flag == "none" or (backbone == "tiny" and flag is None):
        return None
    candidates = [os.path.abspath(os.path.expanduser(flag))] if flag else [
        os.path.join(folder, FOLDER, FILE_NAME) for folder in (data_folder, os.path.dirname(data_folder))]
    return h5_weights.find(flag, candidates, _ADVICE)


def notices(path: str | None, backbone: str) -> list[str]:
    """Return the notice about a backbone with random weights."""
    if backbone == "tiny":
        return ["Notice: the backbone tiny is for smoke tests; its frozen part stays random."]
    if path is None:
        return ["Notice: the weights of the backbone are random, and its frozen part stays random. For useful results "
                f"{_ADVICE}"]
    return []


def load(model: Any, path: str) -> None:
    """Load the backbone alone; ZooError if the file is damaged, or a variable is missing or of another shape."""
    from siamese_triplet_tf2.model import variable_names  # `find` needs no TensorFlow

    h5_weights.load(path, {name: variable for name, variable in zip(variable_names(model), model.weights)
                           if not name.startswith(("dense", "batch_normalization"))}, _ADVICE)
