"""over_dump, data_dump and profiling on GPUs and CPUs."""
from __future__ import annotations

import glob
import json
import types

import numpy as np
import pytest

from common.devices.npu_options import NpuOptions
from common.errors import ZooError
from common.graph.compat import enable, tf
from common.graph.session import StepDebugger


def steps(options, updates, value=2.0):
    """Run `log(x)` for some updates; x is the value at every update."""
    enable()
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [2], "x")
        y = tf.log(x, "the_log")
        run = types.SimpleNamespace(debug_options=options, request=types.SimpleNamespace(num_updates=20))
        options.make_folders()  # as opening a run does
        debugger = StepDebugger(run, {"inputs": x, "gradient/w": y})
        unrelated = tf.placeholder(tf.float32, [1], "of_another_graph")  # what comes later is not checked
        del unrelated
        with tf.Session() as session:
            for update in updates:
                result = debugger.run(session, {"y": y}, {x: np.full(2, value, np.float32)}, update)
    return result["y"]


def test_without_flags_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(str(tmp_path))
    assert steps(NpuOptions("x"), [1, 2, 10]) == pytest.approx(np.log(2.0))
    assert list(tmp_path.iterdir()) == []


def test_dump_at_its_steps(tmp_path):
    steps(NpuOptions("x", data_dump_path=str(tmp_path), data_dump_step="2|4-5"), range(1, 7))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-2", "step-4", "step-5"]
    assert sorted(path.name for path in (tmp_path / "step-4").iterdir()) == ["gradient.w.npy", "inputs.npy"]
    np.testing.assert_allclose(np.load(str(tmp_path / "step-4" / "gradient.w.npy")), np.log(2.0), rtol=1e-6)


def test_overflow_names_op_and_step(tmp_path):
    with pytest.raises(ZooError, match=r"overflow at step 3: op the_log:0 produced Inf.*; details in") as caught:
        steps(NpuOptions("x", over_dump_path=str(tmp_path)), [3], value=0.0)
    assert "the_log" in (tmp_path / "overflow-step-3.txt").read_text()
    assert caught.value.status == 1


def test_checks_let_finite_numbers_pass(tmp_path):
    assert np.isfinite(steps(NpuOptions("x", over_dump_path=str(tmp_path)), [1, 2])).all()
    assert list(tmp_path.iterdir()) == []


def test_profile_is_a_trace(tmp_path):
    steps(NpuOptions("x", profiling_path=str(tmp_path / "p")), [9, 10, 11])
    trace = json.loads((tmp_path / "p" / "timeline-10.json").read_text())
    assert any("the_log" in str(event) for event in trace["traceEvents"])
    assert len(glob.glob(str(tmp_path / "p" / "events.out.tfevents.*"))) == 1
