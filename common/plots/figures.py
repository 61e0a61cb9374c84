"""Matplotlib without a screen, and PNG files that are there whole or not at all."""
from __future__ import annotations

import os
import sys
from typing import Any, Callable


def _to_stderr(warning: str) -> None:
    print(warning, file=sys.stderr)


def plotting(folder: str, warn: Callable[[str], None] = _to_stderr) -> Any:
    """Return pyplot without a screen, or None after a warning when matplotlib is missing.

    Args:
        folder: of the figures, which is made; matplotlib keeps its font list there, instead of in the user's home.
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
    """Write a matplotlib figure as a PNG, atomically, and close it."""
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{os.getpid()}.tmp")
    figure.savefig(temporary, format="png")
    os.replace(temporary, path)
    from matplotlib import pyplot

    pyplot.close(figure)
