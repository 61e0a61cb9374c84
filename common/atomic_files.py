"""Atomic writes: even after a power cut a file holds either its old or its new content."""
from __future__ import annotations

import errno
import io
import json
import math
import os
import shutil
from typing import Any, Mapping

import numpy as np


def write_bytes(path: str, content: bytes) -> None:
    """Write a file atomically."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.tmp")
    with open(temporary, "wb") as file:
        file.write(content)
    replace(temporary, path)


def replace(temporary: str, path: str) -> None:
    """Replace a file by a finished temporary file, atomically and durably."""
    with open(temporary, "rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(os.path.dirname(path))


def write_text(path: str, content: str) -> None:
    """Write a UTF-8 file atomically; names of files that the locale cannot express keep their bytes."""
    write_bytes(path, content.encode("utf-8", "surrogateescape"))


def write_json(path: str, content: Any) -> None:
    """Write a JSON file atomically."""
    write_text(path, to_json(content, indent=2) + "\n")


def to_json(content: Any, indent: int | None = None) -> str:
    """Return strict JSON: NaN and infinity, which JSON lacks, become null."""
    return json.dumps(_finite(content), indent=indent, allow_nan=False)


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def npz(**arrays: np.ndarray) -> bytes:
    """Return the bytes of an .npz archive."""
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def require_space(folder: str, num_bytes: int) -> None:
    """Raise OSError unless a folder has space for a file; for writers that would crash when the disk is full."""
    if shutil.disk_usage(folder).free < num_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), folder)


def sync_folder(folder: str) -> None:
    """Make renames in a folder durable."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
