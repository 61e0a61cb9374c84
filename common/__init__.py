"""What the models share; here, seeds of ops. Importing it ends a program whose Python lacks packages, with one line."""
from __future__ import annotations

import importlib.util
import os
import sys
import zlib

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


def op_seed(name: str, seed: int) -> int:
    """Derive an op's seed from its name, whatever ops exist; TensorFlow 1.15 and 2.x then draw the same numbers."""
    return (zlib.crc32(name.encode("utf-8")) ^ seed) & 0x7FFFFFFF


require_packages()
