"""Numbers: metrics.jsonl is the source, everything else is made from it."""
from __future__ import annotations

import json
import math
import os
import struct

import pytest

from common.run import metrics, run_dir, timing

CASE = metrics.Case("Net_ID1_for_TensorFlow", 4, 1, performance=False)


@pytest.fixture
def run(tmp_path):
    opened = run_dir.open_run(run_dir.Request(str(tmp_path / "0"), {}, 3, False, "auto", {}, ()), "0")
    yield opened
    opened.close()


def rows(run):
    with open(run.file("metrics.jsonl"), encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def content(path):
    with open(path, "rb") as file:
        return file.read()


def clock(values):
    ticks = iter(values)
    return lambda: next(ticks)


def test_case_name():
    assert CASE.name == "Net_ID1_for_TensorFlow_bs4_1p_acc"
    assert metrics.Case("N", 128, 8, performance=True).name == "N_bs128_8p_perf"


def test_rows(run):
    numbers = metrics.Report(run, 0, clock=clock([100.0, 101.5, 103.0]))
    numbers.step(1, loss=2.5, step_seconds=0.25)
    numbers.evaluation(1, accuracy=0.5)
    numbers.close()
    assert rows(run) == [dict(kind="step", step=1, seconds=1.5, loss=2.5, step_seconds=0.25),
                         dict(kind="eval", step=1, seconds=3.0, accuracy=0.5)]


def test_resuming_cuts_back_and_adds_time_up(run):
    numbers = metrics.Report(run, 0, clock=clock([0.0, 1.0, 2.0, 3.0, 4.0]))
    for step in (1, 2, 3):
        numbers.step(step, loss=float(step), step_seconds=1.0)
    numbers.close()
    numbers = metrics.Report(run, 2, clock=clock([50.0, 51.0]))
    numbers.step(3, loss=9.0, step_seconds=1.0)
    numbers.close()
    assert [(row["step"], row["loss"], row["seconds"]) for row in rows(run)] == [(1, 1.0, 1.0), (2, 2.0, 2.0),
                                                                                (3, 9.0, 3.0)]


def test_a_final_row_is_cut_when_a_run_goes_on(run):
    numbers = metrics.Report(run, 0)
    numbers.step(1, loss=1.0, step_seconds=1.0)
    numbers.finish(CASE, 1, None, "cpu", {})
    numbers.close()
    assert run_dir.is_finished(run.path)
    metrics.Report(run, 1).close()
    assert not run_dir.is_finished(run.path)


def test_time_counts_from_the_start_of_the_program(run):
    numbers = metrics.Report(run, 0, started=90.0, clock=clock([100.0]))
    numbers.step(1, loss=1.0, step_seconds=1.0)
    numbers.close()
    assert rows(run)[0]["seconds"] == 10.0


def test_not_a_number_becomes_null(run):
    numbers = metrics.Report(run, 0)
    numbers.step(1, loss=float("nan"), other=float("inf"), step_seconds=1.0)
    numbers.close()
    assert rows(run)[0]["loss"] is None and rows(run)[0]["other"] is None
    numbers = metrics.Report(run, 1)
    assert math.isnan(numbers.of_kind("step")[0]["loss"])
    numbers.close()


def test_result_file_and_last_lines(run, capsys):
    numbers = metrics.Report(run, 0, clock=clock([0.0] * 5 + [41.6] * 3))
    for step in range(1, 5):
        numbers.step(step, loss=1.0, step_seconds=[9.0, 9.0, 0.5, 0.25][step - 1])
    numbers.finish(CASE, 4, 0.98765, "cpu", {"ActualLoss": "1.0000", "TrainAccuracy": "0.9877"})
    numbers.close()
    entries = [line.split(" = ") for line in content(run.file(f"{CASE.name}.log")).decode().splitlines()]
    assert [key for key, _ in entries] == ["Network", "RankSize", "BatchSize", "DeviceType", "CaseName", "ActualFPS",
                                           "TrainingTime", "ActualLoss", "TrainAccuracy", "E2ETrainingTime"]
    values = dict(entries)
    assert values["ActualFPS"] == "10.667" and values["TrainingTime"] == "0.375000"  # 4 / median(0.5, 0.25)
    assert values["E2ETrainingTime"] == "42" and values["TrainAccuracy"] == "0.9877"
    assert capsys.readouterr().out.splitlines() == [
        "------------------ Final result ------------------",
        "Final Performance images/sec : 10.67",
        "Final Performance sec/step : 0.375000",
        "E2E Training Duration sec : 42",
        "Final Train Accuracy : 0.9877",
    ]
    assert rows(run)[-1] == dict(kind="final", step=4, seconds=41.6, step_seconds=0.375,
                                 images_per_second=pytest.approx(10.6667, abs=1e-4), e2e_seconds=41.6,
                                 accuracy=0.98765, device="cpu")


def test_too_few_steps_give_no_throughput(run, capsys):
    numbers = metrics.Report(run, 0)
    numbers.step(1, loss=1.0, step_seconds=1.0)
    numbers.finish(CASE, 1, None, "cpu", {})
    numbers.close()
    out = capsys.readouterr().out
    assert "images/sec : n/a" in out and "sec/step : n/a" in out and "Accuracy : n/a" in out


@pytest.mark.parametrize("durations, wanted", [
    ([], None), ([5.0], None), ([9.0, 1.0], None), ([9.0, 1.0, 3.0], 2.0),
    ([9.0] * 10 + [1.0, 2.0, 3.0] * 5, 2.0),  # ten warm-up steps at most
])
def test_median_step_after_warm_up(durations, wanted):
    assert timing.step_seconds(durations) == wanted


def test_step_timer_leaves_out_what_lies_between():
    timer = timing.StepTimer(clock([10.0, 10.5, 90.0, 91.0]))
    timer.start()
    assert timer.stop() == 0.5
    timer.start()
    assert timer.stop() == 1.0


def read_event_file(path):
    """Records of an event file by its own format: length, crc, data, crc."""
    data = content(path)
    from tensorboard.compat.proto import event_pb2

    events, position = [], 0
    while position < len(data):
        (length,) = struct.unpack("<Q", data[position:position + 8])
        events.append(event_pb2.Event.FromString(data[position + 12:position + 12 + length]))
        position += 16 + length
    return events


def read_events(run):
    (name,) = os.listdir(run.folder("events"))
    return [(event.step, value.tag, value.simple_value) for event in read_event_file(run.file("events", name))
            for value in event.summary.value]


def test_events_of_a_resumed_run_hold_each_step_once(run):
    numbers = metrics.Report(run, 0)
    for step in (1, 2, 3):
        numbers.step(step, loss=float(step), step_seconds=1.0)
    numbers.flush()
    numbers.close()
    numbers = metrics.Report(run, 2)
    numbers.step(3, loss=7.0, step_seconds=1.0)
    numbers.flush()
    numbers.close()
    assert [(step, value) for step, tag, value in read_events(run) if tag == "step/loss"] == [(1, 1.0), (2, 2.0),
                                                                                             (3, 7.0)]


def test_without_tensorboard_and_matplotlib_there_is_one_warning_each(run, monkeypatch):
    import builtins

    real = builtins.__import__

    def refusing(name, *args, **kwargs):
        if name.startswith(("tensorboard", "matplotlib")):
            raise ImportError(f"No module named {name!r}")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refusing)
    warnings = []
    numbers = metrics.Report(run, 0, warn=warnings.append)
    numbers.step(1, loss=1.0, step_seconds=1.0)
    for _ in range(2):
        numbers.draw_curves({"loss": [("step", "loss", "training")]})
    numbers.close()
    assert len(warnings) == 2 and "pip install tensorboard" in warnings[0] and "matplotlib" in warnings[1]
    assert not os.path.exists(run.file("curves.png"))


def test_curves(run):
    numbers = metrics.Report(run, 0)
    numbers.step(1, loss=1.0, step_seconds=1.0)
    numbers.step(2, loss=float("nan"), step_seconds=1.0)
    numbers.evaluation(2, accuracy=0.5)
    numbers.draw_curves({"loss": [("step", "loss", "training")], "accuracy": [("eval", "accuracy", "validation")]})
    numbers.close()
    assert content(run.file("curves.png")).startswith(b"\x89PNG\r\n\x1a\n")
