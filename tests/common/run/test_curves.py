"""curves.png."""
from __future__ import annotations

import pytest

from common.run import metrics
from tests.common.run.test_metrics import file_of

PANELS = {"loss": [metrics.Curve("step", "loss", "training")], "accuracy": [metrics.Curve("eval", "accuracy", "test")]}


@pytest.fixture
def run_path(tmp_path):
    file = file_of(tmp_path)
    file.append("step", 1, dict(loss=1.0))
    file.append("step", 2, dict(loss=float("nan")))
    file.append("eval", 2, dict(accuracy=0.5))
    file.close()
    return tmp_path


def test_curves(run_path):
    metrics.draw_curves(str(run_path), PANELS)
    assert (run_path / "curves.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_a_long_curve_is_thinned_out_evenly():
    points = metrics.Points()
    for step in range(1, 3 * metrics.MAX_POINTS):
        points.add(step, float(step))
    assert metrics.MAX_POINTS / 2 <= len(points.steps) <= metrics.MAX_POINTS + 1
    assert points.steps == list(range(1, 3 * metrics.MAX_POINTS, 4)) and points.values == points.steps


def test_without_matplotlib_there_is_a_warning_and_no_file(run_path, without_module, capsys):
    without_module("matplotlib")
    metrics.draw_curves(str(run_path), PANELS)
    assert "pip install matplotlib" in capsys.readouterr().out and not (run_path / "curves.png").exists()
