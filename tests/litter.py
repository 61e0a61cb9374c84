"""The files that operating systems and tools leave in every folder that they touch."""
from __future__ import annotations

import os
import shutil

APPLE_DOUBLE = b"\0\5\x16\7\0\2\0\0Mac OS X        "


def leave_litter(folder: str) -> None:
    """Leave what macOS, Windows and Jupyter leave: in every folder, and beside every file."""
    for path, _, names in list(os.walk(str(folder))):
        for name in names:
            _write(os.path.join(path, f"._{name}"))
        for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._.DS_Store"):
            _write(os.path.join(path, name))
        os.makedirs(os.path.join(path, ".ipynb_checkpoints"))
        for name in names[:1]:
            shutil.copy(os.path.join(path, name), os.path.join(path, ".ipynb_checkpoints", name))
            os.makedirs(os.path.join(path, "__MACOSX"))
            shutil.copy(os.path.join(path, name), os.path.join(path, "__MACOSX", name))


def _write(path: str) -> None:
    with open(path, "wb") as file:
        file.write(APPLE_DOUBLE)
