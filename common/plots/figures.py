"""Matplotlib without a display, and PNG files that are written atomically."""
from __future__ import annotations

import io
import os
import sys
from typing import Any, Callable

from common import atomic_files


def _to_stderr(warning: str) -> None:
    print(warning, file=sys.stderr)


def plotting(folder: str, warn: Callable[[str], None] = _to_stderr) -> Any:
    """Return pyplot without a display, or None after a warning if matplotlib is missing.

    Args:
        folder: folder of the figures, created if missing; matplotlib keeps its font list there, not in the home folder.
        warn: takes the warning.
    """
    os.makedirs(folder, exist_ok=True)
    os.environ.setdefault("MPLCONFIGDIR", os.path.join(folder, ".matplotlib"))
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        warn(f"Warning: no PNG ({error}); pip install matplotlib")
        return None
    return pyplot


def save_figure(figure: Any, path: str) -> None:
    """Write a figure as a PNG and close it."""
    from matplotlib import pyplot

    content = io.BytesIO()
    figure.savefig(content, format="png")
    pyplot.close(figure)
    atomic_files.write_bytes(path, content.getvalue())
