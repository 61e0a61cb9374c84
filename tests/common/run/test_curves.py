"""curves.png."""
from __future__ import annotations

import pytest

from common.run import curves
from common.run.curves import MAX_POINTS, Points
from common.run.report import summarise
from tests import runs
from tests.common.run.recording import Deaf, record_of, step


@pytest.fixture
def run_path(tmp_path):
    with runs.open_run(tmp_path) as run:
        record = record_of(run)
        record.restore(Deaf())
        step(record, 1)
        step(record, 2)
        record.evaluation(2, dict(accuracy=float("nan")))
        record.evaluation(3, dict(accuracy=0.5))
        record.close()
    return tmp_path / "0"


def test_curves(run_path):
    curves.draw(summarise(str(run_path)))
    assert (run_path / "curves.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_a_long_curve_is_thinned_out_evenly():
    points = Points()
    for number in range(1, 3 * MAX_POINTS):
        points.add(number, float(number))
    assert MAX_POINTS / 2 <= len(points.steps) <= MAX_POINTS + 1
    assert points.steps == list(range(1, 3 * MAX_POINTS, 4)) and points.values == points.steps


def test_without_matplotlib_there_is_a_warning_and_no_file(run_path, without_module, capsys):
    without_module("matplotlib")
    curves.draw(summarise(str(run_path)))
    assert "pip install matplotlib" in capsys.readouterr().err and not (run_path / "curves.png").exists()
