"""Tiny data is in the real formats and always the same."""
from __future__ import annotations

import os

import numpy as np

from common.tiny_data import mnist as tiny
from gitloss_tf1 import mnist
from tests.programs import run_python


def test_tiny_mnist_loads_as_mnist(tmp_path):
    tiny.make(str(tmp_path), num_train=48, num_test=20)
    data = mnist.load(str(tmp_path))
    assert len(data.train.labels) + len(data.validation.labels) == 48 and len(data.test.labels) == 20
    assert sorted(set(data.train.labels)) == list(range(10))
    assert data.train.images.min() >= 0 and data.train.images.max() > 150


def test_the_same_seed_draws_the_same_digits(tmp_path):
    for name in ("a", "b"):
        tiny.make(str(tmp_path / name), num_train=24, num_test=10)
    first, second = (mnist.load(str(tmp_path / name)) for name in ("a", "b"))
    assert np.array_equal(first.train.images, second.train.images)
    assert not np.array_equal(first.train.images[:10], first.test.images)


def test_command(tmp_path):
    assert run_python("-m", "common.tiny_data", "mnist", tmp_path / "m").returncode == 0
    assert len(os.listdir(str(tmp_path / "m"))) == 4
    explained = run_python("-m", "common.tiny_data", "--help").stdout
    assert all(name in explained for name in ("faces", "look_alikes", "mnist", "omniglot", "tracking"))
    assert max(map(len, explained.splitlines()[1:])) <= 80
    wrong = run_python("-m", "common.tiny_data", "imagenet", "x")
    assert wrong.returncode == 2 and "usage" in wrong.stderr
