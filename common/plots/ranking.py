"""Pictures of images in lines, with names and frames: queries, each followed by what was found for it, best first."""
from __future__ import annotations

import os
from typing import Any, Callable, NamedTuple, Sequence

import numpy as np

from common.plots import figures

COLUMNS = 5
MAX_QUERIES = 20  # that are drawn
_SIDE, _TEXT_HEIGHT, _TITLE_HEIGHT = figures.WIDTH / COLUMNS, 0.5, 0.5  # inches
_MAX_NAME = 22  # characters that fit above an image
_QUERY, _MATCH, _OTHER, _UNDECIDED = "black", figures.COLOURS[2], figures.COLOURS[1], "lightgray"
ImageOf = Callable[[str], np.ndarray]


class Cell(NamedTuple):
    """An image of a picture, and what is said about it."""

    path: str  # whose name is shown
    text: str
    is_match: bool | None  # the verdict, None without a threshold; the colour of the frame
    is_query: bool = False  # has a black frame


def draw(pyplot: Any, path: str, title: str, queries: Sequence[tuple[str, Sequence[Cell]]], image_of: ImageOf) -> None:
    """Draw queries with a black frame and what was found with one that shows the verdict; a query begins a line.

    `queries` are paths with what was found, best first, of which the first MAX_QUERIES are drawn; `image_of` reads an
    image as uint8 [height, width, 3] RGB, or [height, width] gray. `pyplot` is from `figures.plotting`, None draws
    nothing.
    """
    lines: list[Sequence[Cell]] = []
    for query, found in queries[:MAX_QUERIES]:
        cells = [Cell(query, "query", None, is_query=True)]
        cells += [cell._replace(text=f"{rank}. {cell.text}") for rank, cell in enumerate(found, 1)]
        lines += [cells[begin:begin + COLUMNS] for begin in range(0, len(cells), COLUMNS)]
    draw_lines(pyplot, path, title, lines, image_of)


def draw_lines(pyplot: Any, path: str, title: str, lines: Sequence[Sequence[Cell | None]], image_of: ImageOf) -> None:
    """Draw lines of up to COLUMNS images, as `draw` does; None leaves a place empty."""
    if pyplot is None:
        return
    num = max(1, len(lines))
    size = figures.WIDTH, num * (_SIDE + _TEXT_HEIGHT) + _TITLE_HEIGHT
    figure, axes = pyplot.subplots(num, COLUMNS, figsize=size, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for places, line in zip(axes, lines):
        for axis, cell in zip(places, line):
            if cell is not None:
                _draw_cell(axis, cell, image_of(cell.path))
    figure.suptitle(figures.wrapped(title))
    figures.save_figure(figure, path)


def _draw_cell(axis: Any, cell: Cell, image: np.ndarray) -> None:
    colour = _QUERY if cell.is_query else _UNDECIDED if cell.is_match is None else _MATCH if cell.is_match else _OTHER
    axis.set_axis_on()
    axis.imshow(image, cmap="gray", vmin=0, vmax=255)
    axis.set_title(f"{figures.drawable(_shortened(os.path.basename(cell.path)))}\n{cell.text}", fontsize=8)
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    for spine in axis.spines.values():
        spine.set(visible=True, color=colour, linewidth=3)


def _shortened(name: str) -> str:
    half = _MAX_NAME // 2 - 1
    return name if len(name) <= _MAX_NAME else f"{name[:half]}..{name[-half:]}"
