"""Files that are there whole or not at all. No TensorFlow."""
from __future__ import annotations

import io
import json
import math
import os
from typing import Any, Mapping

import numpy as np


def write_bytes(path: str, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.tmp")
    with open(temporary, "wb") as file:
        file.write(content)
    replace(temporary, path)


def replace(temporary: str, path: str) -> None:
    """Put a file that is written in the place of another, for good."""
    with open(temporary, "rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(os.path.dirname(path))


def write_text(path: str, content: str) -> None:
    """`write_bytes` for text."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: str, content: Any) -> None:
    """`write_bytes` for JSON."""
    write_text(path, to_json(content, indent=2) + "\n")


def to_json(content: Any, indent: int | None = None) -> str:
    """Return JSON, which has no NaN and no infinity: such numbers become null."""
    return json.dumps(_finite(content), indent=indent, allow_nan=False)


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def npz(**arrays: np.ndarray) -> bytes:
    """Return the content of a .npz file."""
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def sync_folder(folder: str) -> None:
    """Make renames in a folder last."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
