"""Matplotlib without a display, one style for all figures, and PNG files that are written atomically."""
from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import textwrap
from typing import Any, Callable, Iterator, Sequence

import numpy as np

from common import atomic_files, console

WIDTH = 8.0  # inches, of 100 pixels
TITLE_CHARACTERS = 70  # that fit in this width
SMOOTHED_FROM = 20  # points of a curve
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito 2008
_STYLE = {
    "figure.dpi": 100, "savefig.dpi": 100, "figure.constrained_layout.use": True, "font.size": 11,
    "axes.titlesize": 12, "axes.grid": True, "grid.alpha": 0.3, "axes.axisbelow": True, "lines.linewidth": 1.5,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
}  # fmt: skip


def plotting(warn: Callable[[str], None] = console.notice) -> Any:
    """Return pyplot without a display and in our style, or None after a warning if matplotlib is missing."""
    try:
        with _settings_folder():
            import matplotlib

            matplotlib.use("Agg")
            from matplotlib import pyplot
    except ImportError as error:
        warn(f"Warning: no PNG ({error}); pip install matplotlib")
        return None
    pyplot.rcParams.update(_STYLE)
    pyplot.rcParams["axes.prop_cycle"] = matplotlib.cycler(color=COLOURS)
    return pyplot


@contextlib.contextmanager
def _settings_folder() -> Iterator[None]:
    """Give matplotlib a folder instead of the user's home for its settings and fonts, while it is imported."""
    name = "MPLCONFIGDIR"
    if name in os.environ or "matplotlib" in sys.modules:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        os.environ[name] = folder
        try:
            yield
        finally:
            del os.environ[name]


def save_figure(figure: Any, path: str) -> None:
    """Write a figure as a PNG, creating its folder, and close it."""
    from matplotlib import pyplot

    content = io.BytesIO()
    figure.savefig(content, format="png")
    pyplot.close(figure)
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    atomic_files.write_bytes(path, content.getvalue())


def wrapped(title: str) -> str:
    """Break a title that is too long for the width of a figure into lines."""
    return textwrap.fill(title, TITLE_CHARACTERS)


def drawable(text: str) -> str:
    """Return a text without mathematics, in which `?` stands for characters that the font lacks."""
    from matplotlib import font_manager

    font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties()))
    return "".join(letter if font.get_char_index(ord(letter)) else "?" for letter in text).replace("$", r"\$")


def whole_steps(axis: Any, label: str = "updates") -> None:
    """Label the x axis of steps, with integers only."""
    from matplotlib.ticker import MaxNLocator

    axis.set_xlabel(label)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=(1, 2, 5, 10)))


def plot_curve(axis: Any, steps: Sequence[int], values: Sequence[float], label: str, is_noisy: bool) -> None:
    """Plot a curve: one that is noisy and long as a smoothed line over faint points, others with a marker per point."""
    if not is_noisy or len(values) < SMOOTHED_FROM:
        axis.plot(steps, values, label=label, marker=".")
        return
    (line,) = axis.plot(steps, smoothed(values), label=label)
    axis.plot(steps, values, ".", markersize=2, alpha=0.25, color=line.get_color())


def smoothed(values: Sequence[float]) -> np.ndarray:
    """Return the running mean over a twentieth of a curve, float64 [num]; NaN and infinity are left out."""
    numbers, reach = np.asarray(values, np.float64), max(1, len(values) // 40)
    is_finite = np.isfinite(numbers)
    sums, counts = (np.convolve(terms, np.ones(2 * reach + 1))[reach:-reach]
                    for terms in (np.where(is_finite, numbers, 0.0), is_finite.astype(np.float64)))
    return np.where(counts > 0, sums / np.maximum(counts, 1.0), np.nan)


def draw_roc(pyplot: Any, path: str, title: str, rates: tuple[np.ndarray, np.ndarray], area: float) -> None:
    """Draw a ROC over a logarithmic false accept rate, beside that of chance; `pyplot` None draws nothing.

    `rates` are false and true accept rates, float64 [num] each, rising.
    """
    if pyplot is None:
        return
    false_accept, true_accept = rates
    positive = false_accept[false_accept > 0.0]
    least = float(positive.min()) if len(positive) else 1.0
    left = min(least / 2, 0.1)  # stands for 0
    figure, axis = pyplot.subplots(figsize=(WIDTH, 5))
    axis.plot(np.maximum(false_accept, left), true_accept, label=f"AUC {area:.4f}")
    chance = np.geomspace(left, 1.0, 100)
    axis.plot(chance, chance, linestyle="--", color="gray", linewidth=1, label="chance")
    axis.set_xscale("log")
    axis.set_xlim(left, 1.0)
    axis.set_ylim(0.0, 1.02)
    axis.set_xlabel("false accept rate (of different pairs)")
    axis.set_ylabel("true accept rate (of same pairs)")
    axis.set_title(wrapped(title))
    axis.legend(loc="lower right")
    save_figure(figure, path)
