"""What the scatter plot of the features says."""
from __future__ import annotations

import numpy as np
import pytest

from common.plots import figures
from gitloss_tf1 import plots
from tests.figures import size_of

pytest.importorskip("matplotlib")


def test_digits_stand_at_their_centers(tmp_path, saved_figures):
    centers = np.arange(20.0).reshape(10, 2)
    centers[4] = np.nan  # a class without images
    labels = np.arange(50) % 10
    plots.draw(figures.plotting(), str(tmp_path / "features.png"), np.zeros((50, 2)), labels, centers,
               "a title")
    (axis,) = saved_figures["features.png"].axes
    assert {text.get_text(): text.get_position() for text in axis.texts} == {
        str(digit): tuple(centers[digit]) for digit in range(10) if digit != 4}
    assert (axis.get_title(), axis.get_xlabel(), axis.get_ylabel()) == ("a title", "feature 0", "feature 1")
    assert axis.get_legend() is None and size_of(saved_figures["features.png"]) == [800, 800]
