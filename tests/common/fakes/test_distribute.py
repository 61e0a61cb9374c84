"""The fake's collectives do what the real ones do, and refuse what would hang or do nothing."""
from __future__ import annotations

import importlib

import numpy as np
import pytest

from common.graph import compat
from common.graph.compat import tf
from common.keras import npu
from tests import fakes


class Optimizer:
    """Has what the wrapper takes the place of."""

    def get_gradients(self, loss, params):
        del loss
        return params

    def _compute_gradients(self, loss, var_list, grad_loss=None, tape=None):
        del loss, grad_loss, tape
        return [(tf.constant(float(number)), variable) for number, variable in enumerate(var_list)]

    def apply_gradients(self, grads_and_vars):
        return list(grads_and_vars)


class NewOptimizer:
    def apply_gradients(self, grads_and_vars):
        return list(grads_and_vars)


@pytest.fixture
def adapter(monkeypatch, tmp_path):
    compat.enable()
    for name, value in dict(RANK_SIZE="2", RANK_ID="1", RANK_TABLE_FILE=str(tmp_path / "table.json")).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "table.json").write_text(
        '{"server_list": [{"device": [{"device_id": "0", "rank_id": "0"}, {"device_id": "1", "rank_id": "1"}]}], '
        '"version": "1.0"}')
    with tf.Graph().as_default(), fakes.installed("hicann", "npu_device") as process:
        module = importlib.import_module("npu_device")
        module.open(1).as_default()
        process.calls.clear()
        module.process = process
        yield module


def refused(text):
    return pytest.raises(importlib.import_module("adapter_schema").SilentlyAccepted, match=text)


def test_a_shard_is_this_rank_s_samples(adapter):
    dataset, size = npu.shard(tf.data.Dataset.range(6), 6)
    assert size == 3 and adapter.process.calls == [("shard", 6, 3)]
    following = tf.data.make_one_shot_iterator(dataset.batch(size)).get_next()
    with tf.Session() as session:
        assert list(session.run(following)) == [1, 3, 5]


def test_a_shard_must_fit_and_come_first(adapter, monkeypatch):
    with pytest.raises(ValueError, match="divisible by num npus: 2"):
        npu.shard(tf.data.Dataset.range(5), 5)
    with refused("after batch"):
        npu.shard(tf.data.Dataset.range(6).batch(6).prefetch(1), 6)
    monkeypatch.setattr(adapter.process, "eager_variables", lambda: ["kernel"])
    with refused("after the model"):
        npu.shard(tf.data.Dataset.range(6), 6)


def test_a_wrapped_optimizer_reduces_what_it_applies_and_nothing_else(adapter):
    optimizer = adapter.distribute.npu_distributed_keras_optimizer_wrapper(Optimizer(), "sum")
    gradients = optimizer._compute_gradients(None, ["kernel", "bias"], tape=None)
    assert optimizer.get_gradients(None, [1]) == optimizer.get_gradient(None, [1]) == [1]
    assert adapter.process.calls == [("optimizer_wrapper", "sum")]
    (applied, name), _ = optimizer.apply_gradients(gradients)
    assert (applied.shape, name) == ((), "kernel") and applied is not gradients[0][0]
    assert adapter.process.calls == [("optimizer_wrapper", "sum"), ("all_reduce", "sum", 2, 1)]


def test_an_optimizer_of_keras_2_11_cannot_be_wrapped(adapter):
    with pytest.raises(AttributeError):
        adapter.distribute.npu_distributed_keras_optimizer_wrapper(NewOptimizer())
    assert adapter.process.calls == []


@pytest.fixture
def give(monkeypatch):
    """Return a function that gives what rank 0 does, in the place of which this process is rank 1."""
    return importlib.import_module("adapter_hccl").give


def test_ranks_add_up(adapter, give):
    (total,) = npu.all_reduce([tf.constant([1.0, 2.0])], fuse=True)
    (other,) = npu.all_reduce([tf.constant(3)], fuse=False)
    give(0, 1, "all_reduce sum of float32(2,)", [np.array([10.0, 20.0], np.float32)])
    give(0, 2, "all_reduce sum of int32()", [np.array(4, np.int32)])
    with tf.Session() as session:
        results = session.run([total, other])
    assert list(results[0]) == [11.0, 22.0] and results[1] == 7
    assert adapter.process.calls == [("all_reduce", "sum", 1, 1), ("all_reduce", "sum", 1, 0)]


def test_what_is_missing_stays_missing(adapter):
    first, missing, second = adapter.distribute.all_reduce([tf.constant(1.0), None, tf.constant(2.0)])
    assert missing is None and first is not None and second is not None


def test_ranks_that_make_different_collectives_would_wait_for_ever(adapter, give):
    (total,) = npu.all_reduce([tf.constant(1.0)], fuse=False)
    give(0, 1, "all_reduce sum of float32(2,)", [np.array([10.0, 20.0], np.float32)])
    with tf.Session() as session, pytest.raises(tf.errors.UnknownError, match=r"rank 0 makes all_reduce sum of "
                                                r"float32\(2,\).*this rank all_reduce sum of float32"):
        session.run(total)


def test_a_rank_that_makes_none_is_waited_for(adapter, monkeypatch):
    monkeypatch.setattr(importlib.import_module("adapter_hccl"), "_PATIENCE_SECONDS", 0.05)
    (total,) = npu.all_reduce([tf.constant(1.0)], fuse=False)
    with tf.Session() as session, pytest.raises(tf.errors.UnknownError, match="rank 0 does not make collective 1"):
        session.run(total)


def test_a_collective_without_a_job_does_nothing(adapter, monkeypatch):
    monkeypatch.setattr(adapter.process.handle, "workers_num", 1)
    with refused("with RANK_SIZE 1 does nothing"):
        npu.all_reduce([tf.constant(1.0)], fuse=True)
    adapter.process.openings[0].num_as_default = 0
    with refused("without open"):
        npu.all_reduce([tf.constant(1.0)], fuse=True)
