"""What tests ask of a figure."""
from __future__ import annotations


def legend_of(axis):
    """The texts of a legend."""
    return [text.get_text() for text in axis.get_legend().get_texts()]


def size_of(figure):
    """Width and height in pixels."""
    return [int(round(side)) for side in figure.get_size_inches() * figure.dpi]
