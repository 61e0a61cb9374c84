"""Names of checkpoints: a bundle `model.ckpt-<step>` is an .index file and .data files. No TensorFlow."""
from __future__ import annotations

import os
import re

PREFIX = "model.ckpt"
BUNDLE_FILE = re.compile(r"model\.ckpt-(\d+)\.(index|data-\d{5}-of-\d{5})")
_SUFFIX = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")


def steps_in(folder: str) -> list[int]:
    """Steps of the checkpoints in a folder, rising; one counts when its index stands."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    matches = (BUNDLE_FILE.fullmatch(name) for name in names)
    return sorted(int(match.group(1)) for match in matches if match and match.group(2) == "index")


def prefix_of(path: str) -> str:
    """Return the absolute prefix of a checkpoint that may be given as one of its files."""
    return _SUFFIX.sub("", os.path.abspath(os.path.expanduser(path)))
