"""What a run records: checkpoints that are saved once, rows, the result file and the last lines."""
from __future__ import annotations

import json
import tracemalloc

import pytest

from common.checkpoints.bundle import steps_in
from common.cli.program import StopRequest
from common.errors import ZooError
from common.run import curves, metrics
from common.run.loop import Record
from common.run.report import summarise
from tests import runs
from tests.common.run.recording import Deaf, Listener, record_of, step
from tests.results import events_in, result_file, rows
from tests.runs import clock


def scalars(folder):
    """Step, tag and number of all scalars in a folder."""
    return [(event.step, value.tag, value.simple_value) for event in events_in(folder) for value in event.summary.value]


def test_a_step_is_saved_once_and_the_best_is_kept(tmp_path):
    with runs.open_run(tmp_path) as run:
        record = record_of(run)
        assert record.restore(Listener()) is None
        for number in range(1, 6):
            step(record, number)
            record.evaluation(number, dict(best=number == 2))
            record.save(number)
            record.save(number)
        assert record.checkpoints.saved == [(1, []), (2, [2]), (3, [2]), (4, [2]), (5, [2])]
        assert steps_in(run.folder("ckpt")) == [2, 4, 5]


def test_the_best_before_is_dropped_when_the_last_evaluation_is_better(tmp_path):
    with runs.open_run(tmp_path) as run:
        record = record_of(run)
        record.restore(Listener())
        for number in range(1, 5):
            step(record, number)
            record.save(number)
            record.evaluation(number, dict(best=number in (1, 4)))
        assert steps_in(run.folder("ckpt")) == [1, 3, 4]
        record.save(4)
        assert steps_in(run.folder("ckpt")) == [3, 4]


def test_a_resumed_run_replays_its_rows_and_does_not_save_again(tmp_path, capfd):
    with runs.open_run(tmp_path) as run:
        record = record_of(run)
        record.restore(Listener())
        step(record, 1)
        record.evaluation(1, dict(accuracy=0.5, histogram=[1, 2], best=True))
        record.save(1)
        step(record, 2)
    with runs.open_run(tmp_path) as run:
        record, listener = record_of(run), Listener()
        assert record.restore(listener) == 1
        assert listener.rows == [("step", 1, True), ("eval", 1, True)]
        (evaluation,) = record.evaluations
        assert evaluation["accuracy"] == 0.5 and "histogram" not in evaluation  # lists would add up
        assert record.has_evaluation(1) and not record.has_evaluation(2)
        record.save(1)
        assert record.checkpoints.saved == []
        step(record, 2)
        assert listener.rows[-1] == ("step", 2, False)
    assert "Resuming after 1 updates." in capfd.readouterr().out
    assert [row["step"] for row in rows(tmp_path / "0")] == [1, 1, 2]


def test_a_run_without_a_checkpoint_starts_from_the_beginning(tmp_path, capfd):
    with runs.open_run(tmp_path) as run:
        record = record_of(run)
        record.restore(Listener())
        step(record, 1)
    with runs.open_run(tmp_path) as run:
        listener = Listener()
        assert record_of(run).restore(listener) is None and listener.rows == []
    assert "it starts from the beginning" in capfd.readouterr().out and rows(tmp_path / "0") == []


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_training_on_every_rank(tmp_path, loss):
    with runs.open_run(tmp_path) as run:
        record, other_rank = record_of(run), Record(run, StopRequest())
        for any_rank in (record, other_rank):
            any_rank.restore(Listener())
            with pytest.raises(ZooError, match=f"the loss is {loss} at step 3: training has diverged; take less"):
                step(any_rank, 3, loss=loss)
    assert rows(tmp_path / "0") == []


def test_result_file_and_last_lines(tmp_path, capfd):
    with runs.open_run(tmp_path) as run:
        record = record_of(run, clock=clock([0.0] * 4 + [41.6] * 2))
        record.restore(Listener())
        for number, seconds in enumerate([9.0, 9.0, 0.5, 0.25], 1):
            step(record, number, step_seconds=seconds)
        record.finish(4, 0.98765, {"ActualLoss": "1.0000", "TrainAccuracy": "0.9877"})
        values = result_file(run.path, run.request.case_name)
    assert list(values) == ["Network", "RankSize", "BatchSize", "DeviceType", "CaseName", "ActualFPS", "TrainingTime",
                            "ActualLoss", "TrainAccuracy", "E2ETrainingTime"]
    assert values["ActualFPS"] == "10.667" and values["TrainingTime"] == "0.375000"  # 4 / median(0.5, 0.25)
    assert values["E2ETrainingTime"] == "42" and values["TrainAccuracy"] == "0.9877"
    assert capfd.readouterr().out.splitlines()[-5:] == [
        "------------------ Final result ------------------",
        "Final Performance images/sec : 10.67",
        "Final Performance sec/step : 0.375000",
        "E2E Training Duration sec : 42",
        "Final Train Accuracy : 0.9877",
    ]
    assert rows(tmp_path / "0")[-1] == dict(
        kind="final", step=4, seconds=41.6, step_seconds=0.375, images_per_second=pytest.approx(10.6667, abs=1e-4),
        e2e_seconds=41.6, accuracy=0.98765, device="cpu", startup_seconds=0.0, first_step_seconds=9.0)
    assert metrics.is_finished(str(tmp_path / "0"))


def test_too_few_steps_give_no_throughput(tmp_path, capfd):
    with runs.open_run(tmp_path) as run:
        record = record_of(run)
        record.restore(Listener())
        step(record, 1)
        record.finish(1, None, {})
    out = capfd.readouterr().out
    assert "images/sec : n/a" in out and "sec/step : n/a" in out and "Accuracy : n/a" in out


def test_events_of_a_resumed_run_hold_each_step_once(tmp_path):
    with runs.open_run(tmp_path) as run:
        record = record_of(run)
        record.restore(Listener())
        for number in (1, 2):
            step(record, number, loss=float(number))
        record.save(2)
        step(record, 3)
    with runs.open_run(tmp_path) as run:
        record = record_of(run)
        record.restore(Listener())
        step(record, 3, loss=7.0)
        record.finish(3, None, {})
        record.close()
        assert [(number, value) for number, tag, value in scalars(run.folder("events")) if tag == "step/loss"] == [
            (1, 1.0), (2, 2.0), (3, 7.0)]


def test_numbers_of_a_row_become_events(tmp_path):
    with runs.open_run(tmp_path) as run:
        record = record_of(run, clock=lambda: 1.5)
        record.restore(Deaf())
        record.evaluation(3, dict(accuracy=0.5, best=True, histogram=[1, 2], name="x"))
        record.finish(3, None, {})
        record.close()
        written = scalars(run.folder("events"))
    assert [entry for entry in written if entry[1].startswith("eval/")] == [(3, "eval/seconds", 1.5),
                                                                            (3, "eval/accuracy", 0.5)]


@pytest.mark.usefixtures("pictures")
def test_a_run_ends_well_without_its_pictures(tmp_path, capfd):
    with runs.open_run(tmp_path) as run:
        (tmp_path / "0" / "report.html").mkdir()  # so that no file of this name can be written
        record = record_of(run)
        record.restore(Deaf())
        step(record, 1)
        record.finish(1, 0.5, {})
        record.close()
    (warning,) = [line for line in capfd.readouterr().out.splitlines() if line.startswith("Warning")]
    assert "Is a directory" in warning and f"zoo report {tmp_path / '0'} draws them" in warning
    assert metrics.is_finished(str(tmp_path / "0")) and (tmp_path / "0" / "curves.png").exists()


def test_memory_stays_flat_over_many_rows(tmp_path):
    """5,000 more rows take no more memory."""
    with runs.open_run(tmp_path) as run:
        record = record_of(run)
        record.restore(Deaf())
        sizes = {}
        tracemalloc.start()
        try:
            for number in range(1, 6001):
                step(record, number, values=0.25, more=json.loads("0.125"))
                if number in (1000, 6000):
                    sizes[number] = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert sizes[6000] - sizes[1000] < 20_000  # four bytes a row
        curves.draw(summarise(run.path))
    assert len(rows(tmp_path / "0")) == 6000
    assert metrics.last_row(str(tmp_path / "0"))["step"] == 6000


def test_tensorboard_gets_the_settings_and_the_end_of_a_run(tmp_path):
    metadata = pytest.importorskip("tensorboard.plugins.hparams.metadata")
    with runs.open_run(tmp_path, identity=dict(margin=0.5, flip=True, loss="triplet", data=[["a", 1]], absent=None),
                       updates=7) as run:
        record = record_of(run)
        record.restore(Deaf())
        record.finish(7, None, {})
        record.close()
        values = {value.tag: value.metadata.plugin_data for event in events_in(run.folder("events"))
                  for value in event.summary.value if value.HasField("metadata")}
    assert {data.plugin_name for data in values.values()} == {metadata.PLUGIN_NAME}
    start = metadata.parse_session_start_info_plugin_data(values[metadata.SESSION_START_INFO_TAG].content)
    end = metadata.parse_session_end_info_plugin_data(values[metadata.SESSION_END_INFO_TAG].content)
    found = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}
    assert {name: found.get(name) for name in ("margin", "flip", "loss", "num_updates", "batch_size")} == dict(
        margin=0.5, flip=True, loss="triplet", num_updates=7, batch_size=4)
    assert not {"data", "absent"} & set(found)
    assert end.status == 1 and end.end_time_secs >= start.start_time_secs > 1e9


def test_without_tensorboard_the_events_hold_the_rows_alone(tmp_path, without_module):
    without_module("tensorboard")
    with runs.open_run(tmp_path) as run:
        record = record_of(run)
        record.restore(Deaf())
        step(record, 1)
        record.finish(1, None, {})
        record.close()
        tags = {tag for _, tag, _ in scalars(run.folder("events"))}
    assert "step/loss" in tags and not [tag for tag in tags if tag.startswith("_hparams_")]
