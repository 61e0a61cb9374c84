"""Checkpoints are complete or absent; damaged ones are skipped and named."""
from __future__ import annotations

import os
import re
import shutil

import numpy as np
import pytest

from common.checkpoints import bundle
from common.errors import ZooError
from common.graph import checkpoints
from common.graph.compat import tf

pytestmark = pytest.mark.usefixtures("new_graph")


class Model:
    """A counter and a weight."""

    def __init__(self, folder, value=0.0):
        self.step = tf.get_variable("global_step", [], tf.int32, tf.zeros_initializer(), trainable=False)
        self.weight = tf.get_variable("weight", [200], initializer=tf.constant_initializer(value))
        self.session = tf.Session()
        self.saved = checkpoints.Checkpoints(str(folder), self.session, self.step)
        self.session.run(tf.global_variables_initializer())

    def save(self, step, **kwargs):
        self.session.run([self.step.assign(step), self.weight.assign(np.full(200, step, np.float32))])
        return self.saved.save(step, **kwargs)

    def restore(self):
        return self.saved.restore_newest()


@pytest.fixture
def model(tmp_path):
    made = Model(tmp_path / "ckpt")
    yield made
    made.session.close()


def files(model):
    return sorted(os.listdir(model.saved.folder))


def test_the_two_newest_and_the_named_are_kept(model):
    for step in (1, 2, 3, 4, 5):
        model.save(step, keep=[2])
    assert bundle.steps_in(model.saved.folder) == [2, 4, 5]
    assert len(files(model)) == 7  # three bundles of two files, and TensorFlow's `checkpoint`
    assert tf.train.latest_checkpoint(model.saved.folder).endswith("model.ckpt-5")


def test_restores_the_newest(model):
    for step in (3, 10):
        model.save(step)
    model.session.run([model.step.assign(0), model.weight.assign(np.zeros(200, np.float32))])
    assert model.restore() == (10, [])
    assert model.session.run(model.weight)[0] == 10


def test_without_a_checkpoint_there_is_none(model):
    assert model.restore() == (None, [])


def damage(prefix, how):
    data = prefix + ".data-00000-of-00001"
    if how == "data gone":
        os.remove(data)
    elif how == "data cut":
        os.truncate(data, 100)
    elif how == "index cut":
        os.truncate(prefix + ".index", 20)
    elif how == "index empty":
        os.truncate(prefix + ".index", 0)
    else:
        with open(data, "r+b") as file:
            file.seek(300)
            file.write(b"\xff\x00\xff\x00")


@pytest.mark.parametrize("how", ["data gone", "data cut", "data changed", "index cut", "index empty"])
def test_a_damaged_newest_one_is_named_and_the_one_before_is_used(model, how):
    model.save(1)
    damage(model.save(2), how)
    step, notices = model.restore()
    assert step == 1 and model.session.run(model.weight)[0] == 1
    assert len(notices) == 1 and re.search(r"model.ckpt-2 is damaged \((DataLoss|NotFound|OutOfRange|Value)Error: \S",
                                           notices[0]), notices
    assert bundle.steps_in(model.saved.folder) == [1]  # it no longer counts among the newest
    assert [name for name in files(model) if name.startswith("damaged.model.ckpt-2")]
    for step in (2, 3):
        model.save(step)
    assert bundle.steps_in(model.saved.folder) == [2, 3]


def test_a_checkpoint_with_another_step_than_its_name_is_damaged(model):
    model.save(1)
    for name in ("index", "data-00000-of-00001"):
        os.rename(f"{model.saved.folder}/model.ckpt-1.{name}", f"{model.saved.folder}/model.ckpt-7.{name}")
    with pytest.raises(ZooError, match="every checkpoint is damaged"):
        model.restore()


def test_all_damaged_is_an_error_that_says_what_to_do(model):
    for step in (1, 2):
        damage(model.save(step), "data cut")
    with pytest.raises(ZooError, match="every checkpoint is damaged.*--resume=never"):
        model.restore()


def test_a_damaged_one_is_replaced_when_its_step_comes_again(model):
    model.save(1)
    damage(model.save(2), "data changed")
    model.restore()
    model.save(2)
    assert model.restore() == (2, [])


def test_a_bundle_without_index_does_not_count_and_goes(model):
    model.save(1)
    os.remove(model.save(2) + ".index")
    assert bundle.steps_in(model.saved.folder) == [1]
    model.save(3)
    model.save(4)
    assert not [name for name in files(model) if "-2." in name]


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    folder = tmp_path / "ckpt"
    (folder / ".saving-model.ckpt-9").mkdir(parents=True)
    (folder / ".saving-model.ckpt-9" / "model.ckpt-9.index").touch()
    Model(folder)
    assert os.listdir(str(folder)) == []


def test_weights_by_name_and_shape(model, tmp_path):
    model.save(4)
    with tf.Graph().as_default():
        same = tf.get_variable("weight", [200])
        other = tf.get_variable("head", [3])
        reshaped = tf.get_variable("global_step", [2])
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            left = checkpoints.initialise_from(session, f"{model.saved.folder}/model.ckpt-4", [same, other, reshaped])
            assert session.run(same)[0] == 4
    assert len(left) == 2
    assert "head (not in the checkpoint)" in left[0] and "global_step (shape [], expected [2])" in left[1]


def test_nothing_that_fits_is_an_error(model):
    prefix = model.save(4)
    with tf.Graph().as_default(), tf.Session() as session:
        with pytest.raises(ZooError, match="holds no variable of this model"):
            checkpoints.initialise_from(session, prefix, [tf.get_variable("other", [1])])
        with pytest.raises(ZooError, match="no such checkpoint"):
            checkpoints.initialise_from(session, prefix + "0", [tf.get_variable("weight", [200])])


def test_using_a_model_needs_all_its_variables(model):
    prefix = model.save(4)
    with tf.Graph().as_default(), tf.Session() as session:
        variables = [tf.get_variable("weight", [200]), tf.get_variable("head", [3])]
        with pytest.raises(ZooError, match=r"head is missing, expected shape \[3\]"):
            checkpoints.restore_all(session, prefix, variables)
        damage(prefix, "data changed")
        with pytest.raises(ZooError, match="is damaged"):
            checkpoints.restore_all(session, prefix, variables[:1])


def test_a_disk_that_cannot_be_written_is_one_line(model, monkeypatch):
    model.save(1)
    os.makedirs(os.path.join(model.saved.folder, ".saving-model.ckpt-2"))
    monkeypatch.setattr(model.saved._saver, "save", lambda *args, **kwargs: _raise(tf.errors.ResourceExhaustedError(
        None, None, "No space left on device")))
    with pytest.raises(ZooError, match="cannot write .*No space left on device.*free disk space") as caught:
        model.save(2)
    assert "\n" not in str(caught.value)
    assert bundle.steps_in(model.saved.folder) == [1]


def _raise(error):
    raise error


def test_fingerprint_tells_content_not_name(model, tmp_path):
    first, second = model.save(1), model.save(2)
    for suffix in (".index", ".data-00000-of-00001"):
        shutil.copy(first + suffix, str(tmp_path / ("model.ckpt-2" + suffix)))
    assert bundle.fingerprint(str(tmp_path / "model.ckpt-2")) != bundle.fingerprint(second)
    assert bundle.fingerprint(None) is None
    with pytest.raises(ZooError, match="no such checkpoint"):
        bundle.fingerprint(str(tmp_path / "none"))


def test_a_name_of_its_own_comes_with_graph_and_state(model, tmp_path):
    model.save(5)
    model.saved.save_as(str(tmp_path / "named"), "model.ckpt")
    assert sorted(os.listdir(str(tmp_path / "named"))) == [
        "checkpoint", "graph.pbtxt", "model.ckpt.data-00000-of-00001", "model.ckpt.index", "model.ckpt.meta"]
    with tf.Graph().as_default(), tf.Session() as session:
        tf.train.import_meta_graph(str(tmp_path / "named" / "model.ckpt.meta")).restore(
            session, tf.train.latest_checkpoint(str(tmp_path / "named")))
        assert [session.run(variable)[0] for variable in tf.global_variables() if variable.op.name == "weight"] == [5]


def test_a_variable_is_brought_up_to_date_before_it_is_saved(tmp_path, model):
    counts = []

    def before_save():
        counts.append(len(counts) + 1)
        model.weight.load(np.full(200, counts[-1], np.float32), model.session)

    saved = checkpoints.Checkpoints(str(tmp_path / "hooked"), model.session, model.step, before_save)
    saved.save(0)
    saved.save_as(str(tmp_path / "named"), "model.ckpt")
    for prefix, value in ((tmp_path / "hooked" / "model.ckpt-0", 1.0), (tmp_path / "named" / "model.ckpt", 2.0)):
        assert tf.train.load_checkpoint(str(prefix)).get_tensor("weight")[0] == value


@pytest.mark.parametrize("name", ["run[1]", "a*b?", r"b\[c]", "sp ace'q\"%s", "\u6c49\u5b57", "x" * 200])
def test_a_folder_may_have_any_name(tmp_path, name):
    (tmp_path / "axbx" / "ckpt").mkdir(parents=True)  # a*b? as a pattern
    model = Model(tmp_path / name / "ckpt")
    prefix = model.save(3)
    model.session.run(model.weight.assign(np.zeros(200, np.float32)))
    assert model.restore() == (3, [])
    assert model.session.run(model.weight)[0] == 3.0
    assert bundle.shapes_in(prefix, tf) == {"global_step": [], "weight": [200]}
    model.session.run(model.weight.assign(np.zeros(200, np.float32)))
    checkpoints.restore_all(model.session, prefix, [model.weight])
    assert model.session.run(model.weight)[0] == 3.0
    model.session.close()


@pytest.mark.parametrize("name", ["best[1]", "be*t?", r"b\[c]"])
def test_the_name_of_a_checkpoint_may_be_a_pattern(model, tmp_path, name):
    prefix = model.save(7)
    for suffix in (".index", ".data-00000-of-00001"):
        shutil.copy(prefix + suffix, str(tmp_path / f"{name}{suffix}"))
    model.session.run(model.weight.assign(np.zeros(200, np.float32)))
    checkpoints.restore_all(model.session, str(tmp_path / name), [model.weight])
    assert model.session.run(model.weight)[0] == 7.0
