"""metrics.jsonl: rows are streamed, cut back on resume, and survive what a kill leaves."""
from __future__ import annotations

import math
import time

import pytest

from common.errors import ZooError
from common.run import metrics
from tests.programs import run_python
from tests.results import rows
from tests.runs import clock


def file_of(folder, step=0, replayed=None, started=0.0, ticks=None):
    return metrics.MetricsFile(str(folder), step, started, (replayed if replayed is not None else []).append,
                               clock(ticks) if ticks else time.time)


def test_rows(tmp_path):
    file = file_of(tmp_path, started=100.0, ticks=[101.5, 103.0])
    assert file.append("step", 1, dict(loss=2.5)) == dict(kind="step", step=1, seconds=1.5, loss=2.5)
    file.append("eval", 1, dict(accuracy=0.5))
    file.close()
    assert rows(tmp_path) == [dict(kind="step", step=1, seconds=1.5, loss=2.5),
                                  dict(kind="eval", step=1, seconds=3.0, accuracy=0.5)]


def test_resuming_cuts_back_replays_and_adds_time_up(tmp_path):
    file = file_of(tmp_path, ticks=[1.0, 2.0, 3.0, 4.0])
    for step in (1, 2, 3):
        file.append("step", step, dict(loss=float(step)))
    file.append("final", 2, {})
    file.close()
    replayed = []
    file = file_of(tmp_path, 2, replayed, started=50.0, ticks=[51.0])
    assert [(row["step"], row["loss"]) for row in replayed] == [(1, 1.0), (2, 2.0)]
    file.append("step", 3, dict(loss=9.0))
    file.close()
    assert [(row["step"], row["loss"], row["seconds"]) for row in rows(tmp_path)] == [
        (1, 1.0, 1.0), (2, 2.0, 2.0), (3, 9.0, 3.0)]


def test_not_a_number_becomes_null_and_back(tmp_path):
    file = file_of(tmp_path)
    file.append("step", 1, dict(loss=float("nan"), other=float("inf")))
    file.close()
    assert rows(tmp_path)[0]["loss"] is None and rows(tmp_path)[0]["other"] is None
    (row,) = metrics.read_rows(str(tmp_path))
    assert math.isnan(row["loss"]) and math.isnan(row["other"])


def test_a_row_is_on_disk_at_once(tmp_path):
    """A process that is killed right after a step leaves the step's row."""
    script = ("import os, sys\nfrom common.run import metrics\n"
              "file = metrics.MetricsFile(sys.argv[1], 0, 0.0, print)\n"
              "file.append('step', 1, dict(loss=1.0))\nos.kill(os.getpid(), 9)")
    run_python("-c", script, tmp_path)
    assert rows(tmp_path)[0]["loss"] == 1.0


@pytest.mark.parametrize("durations, median", [
    ([], None), ([5.0], None), ([9.0, 1.0], None), ([9.0, 1.0, 3.0], 2.0),
    ([9.0] * 10 + [1.0, 2.0, 3.0] * 5, 2.0),  # ten warm-up steps at most
])
def test_median_step_after_warm_up(tmp_path, durations, median):
    file = file_of(tmp_path)
    for step, seconds in enumerate(durations, 1):
        file.append("step", step, dict(step_seconds=seconds))
    file.append("eval", len(durations), dict(evaluation_seconds=1.0))
    file.close()
    assert metrics.median_step_seconds(str(tmp_path)) == median


@pytest.mark.parametrize("resumed", [False, True])
def test_the_beginning_is_told_apart(tmp_path, resumed):
    """Compiling takes 8 of the 20 seconds until the first step has ended; a later segment does not change that."""
    assert metrics.beginning(str(tmp_path)) == {}
    ticks = iter([20.0, 21.0, 100.0])
    file = metrics.MetricsFile(str(tmp_path), 0, 0.0, print, lambda: next(ticks))
    for step, seconds in ((1, 8.0), (2, 1.0)):
        file.append("step", step, dict(step_seconds=seconds))
    file.close()
    if resumed:
        file = metrics.MetricsFile(str(tmp_path), 2, 0.0, lambda row: None, lambda: next(ticks))
        file.append("step", 3, dict(step_seconds=9.0))
        file.close()
    assert metrics.beginning(str(tmp_path)) == dict(startup_seconds=12.0, first_step_seconds=8.0)


def test_the_last_row_is_found_whatever_the_others_hold(tmp_path):
    assert metrics.last_row(str(tmp_path)) is None
    path = tmp_path / metrics.METRICS
    final = '{"kind": "final", "step": 9, "seconds": 1}\n'
    path.write_text("damaged\n" * 10 + final)
    assert metrics.last_row(str(tmp_path)) == dict(kind="final", step=9, seconds=1)
    path.write_text(final + '{"kind": "st')
    assert metrics.last_row(str(tmp_path)) is None


def test_metrics_pass_over_a_half_written_last_line(tmp_path):
    path = tmp_path / metrics.METRICS
    path.write_text('{"kind": "step", "step": 1, "seconds": 0.5}\n{"kind": "st')
    assert list(metrics.read_rows(str(tmp_path))) == [{"kind": "step", "step": 1, "seconds": 0.5}]


def test_null_is_read_as_no_number(tmp_path):
    (tmp_path / metrics.METRICS).write_text('{"kind": "eval", "step": 1, "seconds": 0, "valid_loss": null}\n')
    assert math.isnan(list(metrics.read_rows(str(tmp_path)))[0]["valid_loss"])


@pytest.mark.parametrize("line", ["{", "[]", "3", '{"step": 1}', '{"kind": "step", "step": 1}',
                                  '{"kind": "step", "step": "one", "seconds": 1}'])
def test_metrics_with_another_damaged_line_are_refused(tmp_path, line):
    (tmp_path / metrics.METRICS).write_text(line + '\n{"kind": "step", "step": 1, "seconds": 1}\n')
    with pytest.raises(ZooError, match="line 1 is damaged"):
        list(metrics.read_rows(str(tmp_path)))
