"""The fake's collectives refuse what sums gradients twice or not at all, and what would hang or do nothing."""
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


class LossScaleOptimizer(Optimizer):
    def get_scaled_loss(self, loss):
        return loss


@pytest.fixture
def adapter(monkeypatch, tmp_path):
    compat.enable()
    for name, value in dict(RANK_SIZE="2", RANK_ID="1", RANK_TABLE_FILE=str(tmp_path / "table.json")).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "table.json").write_text(
        '{"server_list": [{"device": [{"rank_id": "0"}, {"rank_id": "1"}]}], "version": "1.0"}')
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


def test_a_wrapped_optimizer_adds_gradients_up_where_it_computes_them(adapter):
    optimizer = npu.distributed_optimizer(Optimizer())
    (first, name), (second, _) = optimizer._compute_gradients(None, ["kernel", "bias"], tape=None)
    assert (first.shape, second.shape, name) == ((), (), "kernel")
    assert adapter.process.calls == [("optimizer_wrapper", "sum"), ("all_reduce", "sum", 2)]
    assert optimizer.apply_gradients([(first, "kernel")]) == [(first, "kernel")]


def test_ranks_add_up(adapter, monkeypatch):
    """What rank 0 gives and what this one, rank 1, does."""
    (total,) = npu.all_reduce([tf.constant([1.0, 2.0])], "sum")
    exchange = importlib.import_module("npu_device.distribute")._Exchange("all_reduce-1")
    exchange._times = 1
    monkeypatch.setenv("RANK_ID", "0")
    exchange.give([np.array([10.0, 20.0], np.float32)])
    monkeypatch.setenv("RANK_ID", "1")
    with tf.Session() as session:
        assert list(session.run(total)) == [11.0, 22.0]


def test_gradients_are_not_added_up_twice_or_never(adapter):
    optimizer = npu.distributed_optimizer(Optimizer())
    with refused("wrapped again"):
        npu.distributed_optimizer(optimizer)
    with refused("added up already"):
        npu.all_reduce([tf.constant(1.0), tf.constant(2.0)], "sum")
    with refused("nothing is reduced"):  # what a tape computed
        optimizer.apply_gradients([(tf.constant(1.0), "kernel")])


def test_the_wrapper_belongs_inside_loss_scaling(adapter):
    with refused("inside NpuLossScaleOptimizer"):
        npu.distributed_optimizer(LossScaleOptimizer())
    adapter.process.calls.append(("loss_scale_optimizer",))
    with refused("inside NpuLossScaleOptimizer"):
        npu.distributed_optimizer(Optimizer())


def test_an_optimizer_of_keras_2_11_cannot_be_wrapped(adapter):
    with pytest.raises(AttributeError):
        npu.distributed_optimizer(NewOptimizer())
    assert adapter.process.calls == []
