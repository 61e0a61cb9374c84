"""What the models share. Importing it ends a program whose Python lacks packages, with one line."""
from __future__ import annotations

import importlib.util
import os
import sys

PACKAGES = {"absl": "absl-py", "numpy": "numpy", "PIL": "pillow"}  # names on PyPI, by module
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def require_packages() -> None:
    """End the process with one line if this Python lacks a package that every program needs."""
    missing = [package for module, package in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        python = os.path.join(ROOT, ".venv", "bin", "python")
        advice = f"use {python}" if os.path.exists(python) else (
            f"run 'make setup' in {ROOT} and use .venv/bin/python, or pip install {' '.join(missing)}")
        sys.exit(f"[Error] {sys.executable} lacks {', '.join(missing)}: {advice}")


require_packages()
