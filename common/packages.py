"""The packages that every program needs before it can even read its flags."""
from __future__ import annotations

import importlib.util
import os
import sys

REQUIRED = {"absl": "absl-py", "numpy": "numpy", "PIL": "pillow"}
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def missing() -> list[str]:
    """Return the names on PyPI of the packages that this Python lacks."""
    return [package for module, package in REQUIRED.items() if importlib.util.find_spec(module) is None]


def require() -> None:
    """End the process with one line if this Python lacks a package.

    An entry calls this before its other imports, which would end in a traceback.
    """
    if missing():
        python = os.path.join(ROOT, ".venv", "bin", "python")
        advice = f"use {python}" if os.path.exists(python) else (
            f"run 'make setup' in {ROOT} and use .venv/bin/python, or pip install {' '.join(missing())}")
        sys.exit(f"[Error] {sys.executable} lacks {', '.join(missing())}: {advice}")
