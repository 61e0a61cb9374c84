"""Several steps in a call compute what single steps do, and the images on the device are those of the data set."""
from __future__ import annotations

import re

import numpy as np
import pytest

from common.graph.compat import tf
from common.tiny_data import mnist as tiny_mnist
from gitloss_tf1 import gitloss, mnist
from gitloss_tf1.recipe import LossSettings
from gitloss_tf1.training import Steps
from tests import fakes, runs
from tests.graph.conftest import ADAPTER
from tests.graph.gitloss_tf1.conftest import train
from tests.programs import error_line
from tests.results import assert_same_variables, rows, variables_in

TIMES = ("seconds", "step_seconds", "train_time", "evaluation_seconds", "images_per_second", "e2e_seconds",
         "startup_seconds", "first_step_seconds")


def numbers_of(run):
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows(run)]


def test_weights_and_rows_do_not_depend_on_the_steps_in_a_call(tmp_path, tiny_mnist_folder, capfd):
    """Twelve updates with evaluations after 4, 9 and 12, in calls of at most five, and in three runs, which resume one
    another by their path.
    """
    flags = ("--train_steps=12", "--update_centers=5")
    assert train(tiny_mnist_folder, tmp_path / "single", *flags) == 0
    assert train(tiny_mnist_folder, tmp_path / "several", *flags, "--steps_per_loop=5") == 0
    assert_same_variables(tmp_path / "single" / "0", tmp_path / "several" / "0")
    assert numbers_of(tmp_path / "single" / "0") == numbers_of(tmp_path / "several" / "0")
    last = [variables_in(tmp_path / name / "0" / "ckpt_npu" / "model.ckpt") for name in ("single", "several")]
    assert last[0]["global_step"] == 11 and len(last[0]) == 57
    for name, value in last[0].items():
        assert np.array_equal(value, last[1][name]), name

    capfd.readouterr()
    for total, steps_per_loop in ((4, 3), (7, 1), (12, 20)):
        resume = [f"--resume={tmp_path / 'parts' / '0'}"] if total > 4 else []
        assert train(tiny_mnist_folder, tmp_path / "parts", f"--train_steps={total}", "--update_centers=5",
                     f"--steps_per_loop={steps_per_loop}", *resume) == 0
    assert re.findall("Resuming after .* updates", capfd.readouterr().out) == ["Resuming after 4 updates",
                                                                               "Resuming after 7 updates"]
    assert_same_variables(tmp_path / "single" / "0", tmp_path / "parts" / "0")


@pytest.fixture
def data(tmp_path):
    tiny_mnist.make(str(tmp_path / "data"))
    return mnist.load(str(tmp_path / "data"))


def test_images_on_the_device_are_those_of_the_data_set(tmp_path, data, new_graph):
    with runs.open_run(tmp_path / "run", "--seed=3") as run, tf.Session() as session:
        steps = Steps(LossSettings(8), data, run)
        steps.load(session)
        chosen = mnist.Batches(len(data.train.labels), 8, 3).indices(5)
        images, labels = session.run([steps.graph.images, steps.graph.labels], {steps._indices: chosen})
    assert np.array_equal(images, mnist.preprocess(data.train.images[chosen], data.mean_image))
    assert np.array_equal(labels, data.train.labels[chosen])


def test_numeric_checks_do_not_stumble_over_kept_images(tmp_path):
    """Any bytes, so that four of them make a NaN."""
    random = np.random.RandomState(0)
    for name, num in (("train", 240), ("t10k", 20)):
        tiny_mnist.write_idx(str(tmp_path / f"{name}-images-idx3-ubyte"), random.randint(0, 256, (num, 28, 28)))
        tiny_mnist.write_idx(str(tmp_path / f"{name}-labels-idx1-ubyte"), np.arange(num) % 10)
    assert train(tmp_path, tmp_path / "checked", "--train_steps=3", "--over_dump", "--batch_size=8") == 0
    assert train(tmp_path, tmp_path / "plain", "--train_steps=3", "--batch_size=8") == 0
    assert [row["loss"] for row in rows(tmp_path / "checked" / "0", "step")] == [
        row["loss"] for row in rows(tmp_path / "plain" / "0", "step")]


@pytest.mark.parametrize("flag", ["--over_dump", "--profiling", "--data_dump_flag"])
def test_diagnosis_needs_single_steps(tmp_path, tiny_mnist_folder, capfd, flag):
    assert train(tiny_mnist_folder, tmp_path, "--train_steps=11", "--steps_per_loop=2", flag) == 2
    assert f"--steps_per_loop=2: {flag} needs one step in a call" in error_line(capfd)
    assert not (tmp_path / "0").exists()


def test_an_npu_needs_single_steps(tmp_path, tiny_mnist_folder, capfd):
    with fakes.installed("hicann", ADAPTER):
        assert gitloss.main([f"--data_path={tiny_mnist_folder}", f"--output_path={tmp_path}", "--train_steps=4",
                             "--steps_per_loop=2"]) == 2
    assert "--steps_per_loop=2: an NPU needs one step in a call" in error_line(capfd)
