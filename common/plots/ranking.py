"""A picture of queries, each followed by the images that were found for it, best first."""
from __future__ import annotations

import math
from typing import Any, NamedTuple, Sequence

import numpy as np

from common.plots import figures

COLUMNS = 5
MAX_QUERIES = 20  # that are drawn
_SIDE, _TEXT_HEIGHT, _TITLE_HEIGHT = figures.WIDTH / COLUMNS, 0.5, 0.5  # inches
_MAX_NAME = 22  # characters that fit above an image
_QUERY, _MATCH, _OTHER, _UNDECIDED = "black", figures.COLOURS[2], figures.COLOURS[1], "lightgray"


class Found(NamedTuple):
    """An image that was found, and what is said about it."""

    image: np.ndarray  # uint8 [height, width, 3] RGB, or [height, width] gray
    name: str
    text: str
    is_match: bool | None  # the verdict, None without a threshold


class Query(NamedTuple):
    """A query and what was found for it."""

    image: np.ndarray  # as of Found
    name: str
    found: Sequence[Found]  # best first


def draw(pyplot: Any, path: str, title: str, queries: Sequence[Query]) -> None:
    """Draw queries with a black frame and what was found with one that shows the verdict; a query begins a line.

    Args:
        pyplot: from `figures.plotting`; None draws nothing.
        path: path of the PNG.
        title: text above the figure.
        queries: the first MAX_QUERIES are drawn.
    """
    if pyplot is None:
        return
    drawn = queries[:MAX_QUERIES]
    lines = [math.ceil((1 + len(query.found)) / COLUMNS) for query in drawn]
    height = sum(lines) * (_SIDE + _TEXT_HEIGHT) + _TITLE_HEIGHT
    figure, axes = pyplot.subplots(sum(lines), COLUMNS, figsize=(figures.WIDTH, height), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for query, begin in zip(drawn, np.cumsum([0, *lines])):
        cells = axes[begin:].flat
        _draw_image(next(cells), query.image, query.name, "query", _QUERY)
        for place, found in enumerate(query.found, 1):
            colour = _UNDECIDED if found.is_match is None else _MATCH if found.is_match else _OTHER
            _draw_image(next(cells), found.image, found.name, f"{place}. {found.text}", colour)
    figure.suptitle(figures.wrapped(title))
    figures.save_figure(figure, path)


def _draw_image(axis: Any, image: np.ndarray, name: str, text: str, colour: str) -> None:
    axis.set_axis_on()
    axis.imshow(image, cmap="gray", vmin=0, vmax=255)
    axis.set_title(f"{figures.drawable(_shortened(name))}\n{text}", fontsize=8)
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    for spine in axis.spines.values():
        spine.set(visible=True, color=colour, linewidth=3)


def _shortened(name: str) -> str:
    half = _MAX_NAME // 2 - 1
    return name if len(name) <= _MAX_NAME else f"{name[:half]}..{name[-half:]}"
