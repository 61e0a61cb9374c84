"""Keras checkpoints hold variables by name, whole or not at all, with the optimizer's, on every Keras."""
from __future__ import annotations

import os
import threading

import numpy as np
import pytest
import tensorflow as tf

from common.checkpoints import bundle
from common.errors import ZooError
from common.keras import checkpoints, session


@pytest.fixture
def weight():
    return tf.Variable(np.zeros((3, 2), np.float32))


@pytest.fixture
def saved(weight, tmp_path):
    made = checkpoints.KerasCheckpoints(str(tmp_path / "ckpt"), {"layer/kernel": weight})

    def save(number):
        weight.assign(np.full((3, 2), number, np.float32))
        return made.save(number)

    made.save_step = save
    return made


def test_restores_the_newest(saved, weight):
    for step in (1, 2, 3):
        saved.save_step(step)
    weight.assign(np.zeros((3, 2), np.float32))
    assert saved.restore_newest() == (3, [])
    assert weight.numpy().tolist() == [[3, 3]] * 3
    assert bundle.steps_in(saved.folder) == [2, 3]


def test_readable_by_tensorflow_s_own_loader(saved):
    reader = tf.train.load_checkpoint(saved.save_step(4))
    assert reader.get_variable_to_shape_map() == {"global_step": [], "layer/kernel": [3, 2]}
    assert reader.get_tensor("layer/kernel").tolist() == [[4, 4]] * 3


@pytest.mark.parametrize("suffix, size", [(".data-00000-of-00001", 5), (".index", 20), (".index", 0)])
def test_a_damaged_one_is_named_and_the_one_before_is_used(saved, weight, suffix, size):
    saved.save_step(1)
    os.truncate(saved.save_step(2) + suffix, size)
    step, notices = saved.restore_newest()
    assert step == 1 and weight.numpy()[0, 0] == 1
    assert len(notices) == 1 and "model.ckpt-2 is damaged" in notices[0]


def test_another_shape_counts_as_damaged(saved, tmp_path):
    saved.save_step(1)
    other = checkpoints.KerasCheckpoints(saved.folder, {"layer/kernel": tf.Variable([1.0])})
    with pytest.raises(ZooError, match=r"layer/kernel has shape \(3, 2\)"):
        other.restore_newest()


def test_weights_by_name_and_shape(saved):
    prefix = saved.save_step(4)
    wanted = {"layer/kernel": tf.Variable(np.zeros((3, 2), np.float32)), "new/kernel": tf.Variable([0.0]),
              "global_step": tf.Variable([0, 0], dtype=tf.int64)}
    left = checkpoints.initialise_from(prefix, wanted)
    assert wanted["layer/kernel"].numpy()[0, 0] == 4
    assert len(left) == 2 and "new/kernel (not in the checkpoint)" in left[0]
    assert "global_step (shape [], expected [2])" in left[1]
    with pytest.raises(ZooError, match="no variable of this model"):
        checkpoints.initialise_from(prefix, {"new/kernel": tf.Variable([0.0])})
    with pytest.raises(ZooError, match=r"new/kernel is missing, expected shape \[1\]"):
        checkpoints.restore_all(prefix, {"new/kernel": tf.Variable([0.0])})
    with pytest.raises(ZooError, match="no such checkpoint"):
        checkpoints.restore_all(prefix + "0", {})


def test_a_disk_that_cannot_be_written_is_one_line(saved):
    saved.save_step(1)
    os.rename(saved.folder, saved.folder + ".moved")
    with open(saved.folder, "w", encoding="utf-8"):
        pass
    with pytest.raises(ZooError, match="cannot write the checkpoint .*free disk space") as caught:
        saved._write_bundle(os.path.join(saved.folder, "model.ckpt-2"))
    assert "\n" not in str(caught.value)


def test_an_optimizer_s_variables_exist_before_its_first_step_and_bring_it_back(weight):
    def moved(optimizer, times):
        for _ in range(times):
            optimizer.apply_gradients([(tf.ones((3, 2)), weight)])

    optimizers = [tf.keras.optimizers.Adam(0.1) for _ in range(2)]
    for optimizer in optimizers:
        session.build_optimizer(optimizer, [weight])
    first, second = map(session.optimizer_variables, optimizers)
    assert len(first) == len(second) >= 3
    assert all(not np.any(np.asarray(variable) != np.asarray(fresh)) for variable, fresh in zip(first, second))
    moved(optimizers[0], 3)
    for source, target in zip(first, second):
        target.assign(source)
    before = weight.numpy()
    moved(optimizers[0], 1)
    expected = weight.numpy()
    weight.assign(before)
    moved(optimizers[1], 1)
    assert np.array_equal(weight.numpy(), expected)


@pytest.mark.parametrize("name", ["run[1]", "a*b?", r"b\[c]"])
def test_a_folder_may_have_any_name(tmp_path, name, weight):
    made = checkpoints.KerasCheckpoints(str(tmp_path / name), {"layer/kernel": weight})
    weight.assign(np.full((3, 2), 3.0, np.float32))
    prefix = made.save(3)
    weight.assign(np.zeros((3, 2), np.float32))
    assert made.restore_newest() == (3, []) and weight.numpy()[0, 0] == 3.0
    assert bundle.shapes_in(prefix, tf) == {"global_step": [], "layer/kernel": [3, 2]}


class Gate:
    """Stands in for `bundle.write_atomically`: writes nothing until it is opened, and may fail."""

    def __init__(self, monkeypatch, error=None):
        self.is_open, self.started, self._error, self._write = (
            threading.Event(), threading.Event(), error, bundle.write_atomically)
        monkeypatch.setattr(bundle, "write_atomically", self)

    def __call__(self, *arguments):
        self.started.set()
        assert self.is_open.wait(60)
        if self._error:
            raise self._error
        return self._write(*arguments)


def test_in_background_with_the_values_of_the_call(saved, weight, monkeypatch):
    """Training changes the variables in place while the file is being written."""
    gate, folder = Gate(monkeypatch), saved.in_background()
    weight.assign(np.full((3, 2), 7.0, np.float32))
    folder.save(0)
    assert gate.started.wait(60)
    tf.function(lambda: weight.assign_add(tf.ones((3, 2))))()
    assert weight.numpy()[0, 0] == 8 and bundle.steps_in(saved.folder) == []
    gate.is_open.set()
    folder.wait()
    assert folder.restore_newest() == (0, []) and weight.numpy().tolist() == [[7, 7]] * 3


def test_in_background_one_at_a_time_and_in_order(saved, weight, monkeypatch):
    """The second save waits for the first; the best step, known later, is kept by a prune in turn."""
    for step in (1, 2, 3):
        saved.save_step(step)
    assert bundle.steps_in(saved.folder) == [2, 3]
    gate, folder = Gate(monkeypatch), saved.in_background()
    folder.save(4, keep=[2])
    folder.prune([2])
    assert gate.started.wait(60) and bundle.steps_in(saved.folder) == [2, 3]
    threading.Timer(0.2, gate.is_open.set).start()
    folder.save(5, keep=[2])
    assert {2, 4} <= set(bundle.steps_in(saved.folder))
    folder.prune([])
    folder.wait()
    assert bundle.steps_in(saved.folder) == [4, 5]


@pytest.mark.parametrize("call", [lambda folder: folder.save(2), lambda folder: folder.prune([]),
                                  lambda folder: folder.wait()])
def test_in_background_an_error_reaches_the_caller(saved, monkeypatch, call):
    gate, folder = Gate(monkeypatch, ZooError("cannot write the checkpoint")), saved.in_background()
    gate.is_open.set()
    folder.save(1)
    for job in list(folder._jobs):
        job.exception()
    with pytest.raises(ZooError, match="cannot write the checkpoint"):
        call(folder)
