"""What the figures of an evaluation say."""
from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from circleloss_tf1 import lfw, plots, thresholds
from circleloss_tf1.lfw import Pairs
from common.checkpoints.trained import Checkpoint
from common.plots import figures
from tests.figures import legend_of, size_of

pytest.importorskip("matplotlib")


def pairs_of(folder, distances, is_same):
    """Pairs of images that exist, at given distances."""
    paths = [str(folder / f"{'same' if same else 'other'}_{pair}{side}.png") for pair, same in enumerate(is_same)
             for side in "ab"]
    for path in paths:
        Image.new("RGB", (20, 10), "red").save(path)
    found = lfw.verify(np.random.RandomState(0).normal(size=(2 * len(is_same), 4)), np.array(is_same), 2)
    return found._replace(distances=np.array(distances)), Pairs(paths, np.array(is_same), [])


def test_worst_pairs_of_both_kinds(tmp_path, saved_figures):
    distances = [0.95, 0.2, 0.6, 0.1, 0.45, 0.5, 0.81, 0.3, 0.55, 0.9]
    found, pairs = pairs_of(tmp_path, distances, [True, False] * 5)
    worst = plots.worst_pairs(found, pairs, 0.5, num=2)
    assert worst == [0, 3, 6, 1]  # the same and farthest apart: 0 and 6; different and closest: 3 and 1
    checkpoint = Checkpoint("/m/model.ckpt-7", None, str(tmp_path))
    plots.draw_pairs(figures.plotting(), checkpoint, pairs, found, worst)
    figure = saved_figures["worst_pairs.png"]
    assert figure._suptitle.get_text() == "step 7: same but far apart (left), different but close (right)"
    assert size_of(figure) == [800, 470]
    titles = [axis.get_title() for axis in figure.axes if axis.images]
    assert titles[:4] == ["same_0a.png\nthe same", "same_0b.png\ndistance 0.950", "other_3a.png\ndifferent",
                          "other_3b.png\ndistance 0.100"]
    assert [title.split("\n")[0] for title in titles[4:]] == ["same_6a.png", "same_6b.png", "other_1a.png",
                                                              "other_1b.png"]


def test_no_wrong_pair_is_said(tmp_path, saved_figures):
    found, pairs = pairs_of(tmp_path, [0.1, 0.9] * 5, [True, False] * 5)
    plots.draw_pairs(figures.plotting(), Checkpoint("/m/model.ckpt-7", None, str(tmp_path)), pairs, found,
                     plots.worst_pairs(found, pairs, 0.5))
    assert saved_figures["worst_pairs.png"]._suptitle.get_text() == "step 7: no pair is wrong"


def test_roc_and_distances(tmp_path, saved_figures):
    random = np.random.RandomState(0)
    is_same = np.arange(60) % 2 == 0
    embeddings = random.normal(size=(120, 8))
    embeddings[1::4] = embeddings[0::4] + 0.1
    found = lfw.verify(embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True), is_same)
    measured = thresholds.measure(found.distances, is_same, 0.1)
    pairs, checkpoint = Pairs([], is_same, []), Checkpoint("/m/model.ckpt-7", None, str(tmp_path))
    pyplot = figures.plotting()
    plots.draw_roc(pyplot, checkpoint, found, pairs)
    plots.draw_distances(pyplot, checkpoint, found, pairs, measured)
    roc, distances = saved_figures["roc.png"].axes[0], saved_figures["distances.png"].axes[0]
    assert roc.get_title() == f"step 7: accuracy {found.accuracies.mean():.4f}, EER {found.equal_error_rate:.4f}"
    assert set(legend_of(distances)) == {
        "same (30 pairs)", "different (30 pairs)", f"threshold {measured.best_accuracy:.3f}, best accuracy",
        f"threshold {measured.at_far:.3f}, FAR 0.1"}
    assert [line.get_xdata()[0] for line in distances.get_lines()] == [measured.best_accuracy, measured.at_far]
    assert (distances.get_xlabel(), distances.get_ylabel()) == ("distance of the embeddings", "pairs")
    assert size_of(saved_figures["distances.png"]) == [800, 500]
