"""A temporary folder for what libraries write, so that they leave the user's home alone."""
from __future__ import annotations

import atexit
import functools
import shutil
import tempfile


@functools.lru_cache(maxsize=None)
def folder() -> str:
    """Return the temporary folder of this process, which is removed when it ends."""
    path = tempfile.mkdtemp(prefix="zoo-")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path
