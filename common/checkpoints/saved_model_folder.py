"""The folder of a SavedModel that an export writes, and replaces. No TensorFlow."""
from __future__ import annotations

import os
import shutil
from typing import Any, Mapping

from common import atomic_files
from common.errors import ZooError

NAME = "saved_model"
RECORD = "export.json"
_OURS = {"saved_model.pb", "variables", "assets", "fingerprint.pb"}


def record(folder: str, result: Mapping[str, Any]) -> None:
    """Write export.json, which says that what stands beside it is ours."""
    atomic_files.write_json(os.path.join(folder, RECORD), result)


def make_way(folder: str) -> None:
    """Remove an earlier SavedModel of ours, which our record names.

    Raises:
        ZooError: something else is there.
    """
    path = os.path.join(folder, NAME)
    if not os.path.lexists(path):
        return
    names = set(os.listdir(path)) if os.path.isdir(path) else {"a file"}
    if not os.path.isfile(os.path.join(folder, RECORD)) or names - _OURS:
        raise ZooError(f"{path}: is no export of ours and is left alone; move it away or give another --output_path")
    shutil.rmtree(path)
