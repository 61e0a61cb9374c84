"""The picture of a search shows every query, then what was found in its order, framed by the verdict."""
from __future__ import annotations

import numpy as np
import pytest

from common.plots import figures, ranking
from tests.figures import size_of

pytest.importorskip("matplotlib")
GRAY = np.full((10, 20), 128, np.uint8)


def query(name, verdicts):
    return f"queries/{name}", [ranking.Cell(f"faces/face_{place}.jpg", f"distance {place / 10}", verdict)
                               for place, verdict in enumerate(verdicts, 1)]


def image_of(path):
    return GRAY if path.startswith("faces") else np.zeros((20, 10, 3), np.uint8)


def shown(figure):
    """Title and colour of the frame of each image, in reading order."""
    from matplotlib.colors import to_hex

    return [(axis.get_title(), to_hex(axis.spines["left"].get_edgecolor())) for axis in figure.axes if axis.images]


def test_order_names_and_frames(tmp_path, saved_figures):
    path = str(tmp_path / "nearest.png")
    ranking.draw(figures.plotting(), path, "a title", [
        query("first.jpg", [True] * 4 + [False]), query("second.jpg", [None])], image_of)
    figure = saved_figures["nearest.png"]
    match, other = figures.COLOURS[2].lower(), figures.COLOURS[1].lower()
    assert shown(figure) == [
        ("first.jpg\nquery", "#000000"), *((f"face_{place}.jpg\n{place}. distance {place / 10}", match)
                                           for place in (1, 2, 3, 4)),
        ("face_5.jpg\n5. distance 0.5", other), ("second.jpg\nquery", "#000000"),
        ("face_1.jpg\n1. distance 0.1", "#d3d3d3")]
    assert figure._suptitle.get_text() == "a title" and size_of(figure)[0] == 800
    rows = [axis.get_subplotspec().get_topmost_subplotspec().rowspan.start if hasattr(
        axis.get_subplotspec(), "rowspan") else None for axis in figure.axes if axis.images]
    assert rows in ([0] * 5 + [1] + [2] * 2, [None] * 8)  # a query begins a line
    with open(path, "rb") as file:
        assert file.read(4) == b"\x89PNG"


def test_many_queries_are_cut_and_no_matplotlib_draws_nothing(tmp_path, saved_figures):
    many = [query(f"{number}.jpg", [True]) for number in range(ranking.MAX_QUERIES + 3)]
    ranking.draw(figures.plotting(), str(tmp_path / "many.png"), "many", many, image_of)
    assert len(shown(saved_figures["many.png"])) == 2 * ranking.MAX_QUERIES
    ranking.draw(None, str(tmp_path / "none.png"), "none", many, image_of)
    assert not (tmp_path / "none.png").exists()


@pytest.mark.parametrize("name, wanted", [
    ("Zoë.jpg", "Zoë.jpg"), ("$a_b$.jpg", r"\$a_b\$.jpg"), ("人脸.jpg", "??.jpg"),
    ("a_very_long_name_of_a_file_0001.jpg", "a_very_lon..e_0001.jpg"),
])
def test_names_of_any_kind(tmp_path, saved_figures, recwarn, name, wanted):
    ranking.draw(figures.plotting(), str(tmp_path / "x.png"), "x", [query(name, [True])], image_of)
    assert shown(saved_figures["x.png"])[0][0] == f"{wanted}\nquery"
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]
