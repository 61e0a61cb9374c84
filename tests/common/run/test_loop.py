"""The training loop with a task that only counts: what it calls, and when."""
from __future__ import annotations

import os
import signal
import threading

import pytest

from common.cli.program import Stopped, StopRequest
from common.graph.compat import tf as V1
from common.run import loop
from common.run.loop import RunRecord
from tests import runs
from tests.common.run.recording import CURVES, Store
from tests.results import result_file

UPDATES = 7


class Task:
    """Evaluates every third update and at the end; notes what is called."""

    steps_per_epoch = 4
    advice = "take less"
    curves = CURVES

    def __init__(self, record, stop_at=None, over_at=None):
        self.record, self.stop_at, self.over_at = record, stop_at, over_at
        self.calls = []

    def on_row(self, row, is_replayed):
        self.calls.append(f"{'replayed ' if is_replayed else ''}{row['kind']} {row['step']}")

    def start(self, step):
        self.calls.append(f"start {step}")
        return step or 0

    def is_over(self, step):
        return step == self.over_at

    def step(self, step):
        if step == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return dict(loss=1.0, step_seconds=0.1)

    def evaluation_due(self, step):
        return step > 0 and step % 3 == 0 or step == UPDATES

    def evaluate(self, step):
        index = self.record.run.file("ckpt", f"model.ckpt-{step}.index")
        assert os.path.exists(index)  # so a kill in an evaluation loses no step
        return dict(accuracy=1.0)

    def finish(self, step):
        self.record.finish(step, None, {})


def train(folder, *arguments, **options):
    """Run the loop; return what it called and the steps that were saved."""
    stop = StopRequest()
    before = signal.signal(signal.SIGTERM, stop.handle)
    try:
        with runs.open_run(folder, *arguments, updates=UPDATES) as run:
            record = RunRecord(run, stop, Store(run), V1)
            task = Task(record, **options)
            try:
                loop.run(task, record)
            except Stopped:
                task.calls.append("stopped")
            return task.calls, [step for step, _ in record.checkpoints.saved]
    finally:
        signal.signal(signal.SIGTERM, before)


def steps(first, last):
    return [f"step {step}" for step in range(first, last + 1)]


def test_an_undisturbed_run(tmp_path):
    """Checkpoints at evaluations, at the end of an epoch and at the end of the run, each once."""
    calls, saved = train(tmp_path)
    assert calls == ["start None", *steps(1, 3), "eval 3", *steps(4, 6), "eval 6", "step 7", "eval 7", "final 7"]
    assert saved == [3, 4, 6, 7]


@pytest.mark.usefixtures("pictures")
def test_a_signal_saves_after_the_step_and_the_next_run_resumes_there(tmp_path, capfd):
    calls, saved = train(tmp_path, stop_at=4)  # during update 5
    assert calls == ["start None", *steps(1, 3), "eval 3", *steps(4, 5), "stopped"] and saved == [3, 4, 5]
    assert capfd.readouterr().out.splitlines()[-2:] == ["Stopping after this step.",
                                                        "Saved after 5 updates; the same command resumes."]
    assert {"curves.png", "report.html"} <= set(os.listdir(str(tmp_path / "0")))
    entries = result_file(tmp_path / "0", "Net_ID1_for_TensorFlow_bs4_1p_acc")
    assert entries["ActualLoss"] == "1.0000" and entries["TrainingTime"] == "0.100000"
    calls, saved = train(tmp_path)
    replayed = [f"replayed {call}" for call in (*steps(1, 3), "eval 3", *steps(4, 5))]
    assert calls == [*replayed, "start 5", "step 6", "eval 6", "step 7", "eval 7", "final 7"] and saved == [6, 7]


def test_a_signal_ends_an_evaluation_and_the_next_run_makes_it(tmp_path, capfd, monkeypatch):
    def evaluate(self, step):
        os.kill(os.getpid(), signal.SIGTERM)
        self.record.stop.check()

    with monkeypatch.context() as patch:
        patch.setattr(Task, "evaluate", evaluate)
        patch.setattr(RunRecord, "_draw", lambda self: None)
        calls, saved = train(tmp_path)
    assert calls[-2:] == ["step 3", "stopped"] and saved == [3]
    assert capfd.readouterr().out.endswith("Saved after 3 updates; the same command resumes.\n")
    calls, _ = train(tmp_path)
    assert calls[-9:] == ["start 3", "eval 3", *steps(4, 6), "eval 6", "step 7", "eval 7", "final 7"]


def test_an_evaluation_is_not_repeated(tmp_path):
    """A run that is stopped right after an evaluation resumes behind it."""
    calls, _ = train(tmp_path, stop_at=2)
    assert calls[-2:] == ["step 3", "stopped"]
    calls, _ = train(tmp_path, stop_at=3)
    assert calls[-5:] == ["replayed step 3", "start 3", "eval 3", "step 4", "stopped"]
    calls, _ = train(tmp_path)
    assert [call for call in calls if call.endswith("eval 3")] == ["replayed eval 3"]


def test_files_are_closed_when_a_run_is_stopped(tmp_path):
    """TensorBoard's file has a thread, which ends when it is closed."""
    before = threading.active_count()
    assert train(tmp_path, stop_at=4)[0][-1] == "stopped"
    assert threading.active_count() == before


def test_a_task_can_end_early(tmp_path):
    calls, saved = train(tmp_path, over_at=5)
    assert calls[-2:] == ["step 5", "final 5"] and saved == [3, 4, 5]


@pytest.mark.parametrize("minutes, saved", [(1, [3, 4, 6, 7]), (0, [1, 2, 3, 4, 5, 6, 7])])
def test_checkpoints_by_time(tmp_path, monkeypatch, minutes, saved):
    monkeypatch.setattr(RunRecord, "is_save_due", lambda self: minutes == 0)
    assert train(tmp_path)[1] == saved


def test_a_speed_run_saves_once(tmp_path, monkeypatch):
    monkeypatch.setattr(Task, "evaluation_due", lambda self, step: False)
    assert train(tmp_path, "--performance")[1] == [UPDATES]


class SeveralSteps(Task):
    """Makes up to four updates in a call."""

    steps_per_loop = 4

    def steps(self, step, count):
        self.calls.append(f"{count} from {step}")
        return [self.step(step + number) for number in range(count)]


def test_several_updates_in_a_call_end_where_something_is_due(tmp_path, monkeypatch):
    """Evaluations are due after 3, 6 and 7 updates, an epoch ends after 4; single updates are made by `step`."""
    monkeypatch.setitem(globals(), "Task", SeveralSteps)
    calls, saved = train(tmp_path)
    assert calls == ["start None", "3 from 0", *steps(1, 3), "eval 3", "step 4", "2 from 4", *steps(5, 6), "eval 6",
                     "step 7", "eval 7", "final 7"]
    assert saved == [3, 4, 6, 7]


def test_a_signal_is_answered_after_the_call(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "Task", SeveralSteps)
    calls, saved = train(tmp_path, stop_at=0)
    assert calls == ["start None", "3 from 0", *steps(1, 3), "stopped"] and saved == [3]
    assert train(tmp_path)[0][-3:] == ["step 7", "eval 7", "final 7"]


def test_a_task_may_make_fewer_updates_than_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(SeveralSteps, "steps", lambda self, step, count: [self.step(step), self.step(step + 1)][:count])
    monkeypatch.setitem(globals(), "Task", SeveralSteps)
    calls, _ = train(tmp_path)
    assert calls == ["start None", *steps(1, 3), "eval 3", *steps(4, 6), "eval 6", "step 7", "eval 7", "final 7"]


def test_the_disk_is_waited_for_at_the_end_and_when_a_run_is_stopped(tmp_path, monkeypatch):
    """Before the final row, and before the user is told that the state is saved; not at other checkpoints."""
    waits = []
    monkeypatch.setattr(Store, "wait", lambda self: waits.append(self.step))
    monkeypatch.setattr(Task, "finish", lambda self, step: self.calls.append(f"finish after {waits}"))
    monkeypatch.setattr(RunRecord, "describe_stop", lambda self, step: waits.append("told"))
    assert train(tmp_path)[0][-1] == "finish after [7]"
    waits.clear()
    train(tmp_path, "--resume=never", stop_at=4)
    assert waits == [5, "told", 5]
