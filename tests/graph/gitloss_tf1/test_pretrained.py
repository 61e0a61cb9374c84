"""Published weights: those of a run without its optimizer, checked before use; and those that come with the model."""
from __future__ import annotations

import os
import re
import shutil

import numpy as np
import pytest

from common.checkpoints.trained import PRETRAINED
from common.data import checksums
from common.graph import publish
from common.graph.compat import tf
from gitloss_tf1 import evaluate, mnist, predict
from tests.conftest import on_the_default_leg
from tests.programs import error_line, printed, tree
from tests.results import rows, variables_in

WEIGHTS = os.path.join(mnist.ROOT, PRETRAINED)


@pytest.fixture
def run(output):
    return output / "0"


@pytest.fixture
def weights(tmp_path, run, capfd):
    assert publish.main([str(run), str(tmp_path / "weights")]) == 0
    capfd.readouterr()
    return tmp_path / "weights"


def test_variables_of_keras_optimizers_are_left_out(tmp_path):
    old, new = str(tmp_path / "old" / "model.ckpt-1"), str(tmp_path / "model.ckpt-1")
    with tf.Graph().as_default(), tf.Session() as session:
        for name in ("dense/kernel", "global_step", "Adam/000", "optimizer/000"):
            tf.get_variable(name, initializer=1.0)
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, old, write_meta_graph=False)
    publish.write_weights(old, new)
    assert set(variables_in(new)) == {"dense/kernel", "global_step"}


def test_weights_are_those_of_the_run_without_the_optimizer(run, weights):
    best = [row["step"] for row in rows(run, "eval") if row["best"]][-1]
    before, after = (variables_in(folder / "ckpt" / f"model.ckpt-{best}") for folder in (run, weights))
    dropped = {name for name in before if name.endswith(("/Adam", "/Adam_1")) or name.startswith("beta")}
    assert len(dropped) > 10 and set(after) == set(before) - dropped
    assert all(after[name].tobytes() == before[name].tobytes() for name in after)
    assert (weights / "mean_image.npy").read_bytes() == (run / "mean_image.npy").read_bytes()
    assert str(run.parent) not in (weights / "arguments.json").read_text()


def test_results_equal_those_of_the_run_and_go_elsewhere(run, weights, tmp_path, tiny_mnist_folder, capfd):
    before = tree(weights)
    results = []
    for checkpoint in (run, weights):
        assert evaluate.main([f"--checkpoint={checkpoint}", f"--data_path={tiny_mnist_folder}", "--json",
                              f"--output_path={tmp_path / 'out'}", "--device=cpu"]) == 0
        result = printed(capfd)
        results.append({key: value for key, value in result.items() if "checkpoint" not in key and "second" not in key})
    assert results[0] == results[1] and results[0]
    assert tree(weights) == before and (tmp_path / "out" / "evaluate" / "evaluation.json").exists()


@pytest.mark.parametrize("change, message", [
    (lambda folder: (folder / "mean_image.npy").write_bytes(b"other"),
     "mean_image.npy: its SHA-256 checksum is .*, expected .*SHA256SUMS; the file is damaged"),
    (lambda folder: (folder / "metrics.jsonl").unlink(),
     "metrics.jsonl: No such file or directory, and SHA256SUMS lists it"),
    (lambda folder: (folder / "SHA256SUMS").write_text("0" * 64 + "  ../run\n"),
     "'../run' is not a file of this folder"),
])
def test_weights_that_were_changed_are_refused(weights, tiny_mnist_folder, capfd, change, message):
    change(weights)
    assert evaluate.main([f"--checkpoint={weights}", f"--data_path={tiny_mnist_folder}", "--device=cpu"]) == 1
    assert re.search(message, error_line(capfd))


@pytest.mark.parametrize("run_name, folder, message", [
    ("missing", "new", "missing: not a run directory"), ("", ".", "exists already; choose a new folder")])
def test_what_cannot_be_published(run, tmp_path, capfd, run_name, folder, message):
    assert publish.main([str(run / run_name), str(tmp_path / folder)]) == 1
    assert message in error_line(capfd) and os.listdir(str(tmp_path)) == []


def test_the_weights_of_the_model_are_complete():
    checksums.verify_folder(WEIGHTS)
    with open(os.path.join(WEIGHTS, checksums.SUMS), encoding="utf-8") as file:
        assert "ckpt/model.ckpt-5999.data-00000-of-00001" in file.read()


@on_the_default_leg
def test_the_weights_of_the_model_read_digits(tmp_path, shared_data, capfd):
    """1,500 digits of MNIST, which may be among those that it was trained on."""
    folder = tmp_path / "digits"
    shutil.copytree(shared_data("mnist10k"), str(folder))
    images = next(path for path in sorted(folder.iterdir()) if path.name.startswith("t10k-images"))
    labels = next(path for path in sorted(folder.iterdir()) if path.name.startswith("t10k-labels"))
    assert predict.main([f"--checkpoint={PRETRAINED}", f"--images={images}", "--json", "--device=cpu",
                         f"--output_path={tmp_path / 'out'}"]) == 0
    predictions = printed(capfd)["predictions"]
    expected = mnist.read_labels(str(labels))
    classes = np.array([row["label"] for row in predictions])
    assert len(classes) == 1500 and (classes == expected).mean() > 0.98
