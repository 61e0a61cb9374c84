"""What the figures of an evaluation say."""
from __future__ import annotations

import numpy as np
import pytest

from circleloss_tf1 import plots
from circleloss_tf1.lfw import Pairs
from common.checkpoints.trained import Checkpoint
from common.evaluation import verification
from common.plots import figures
from tests.figures import legend_of, size_of

pytest.importorskip("matplotlib")


def test_roc_and_distances(tmp_path, saved_figures):
    random = np.random.RandomState(0)
    is_same = np.arange(60) % 2 == 0
    embeddings = random.normal(size=(120, 8))
    embeddings[1::4] = embeddings[0::4] + 0.1
    found = verification.verify(embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True), is_same)
    thresholds = verification.measure_thresholds(found.distances, is_same, 0.1)
    pairs, checkpoint = Pairs([], is_same, []), Checkpoint("/m/model.ckpt-7", None, str(tmp_path))
    pyplot = figures.plotting(str(tmp_path))
    plots.draw_roc(pyplot, checkpoint, found, pairs)
    plots.draw_distances(pyplot, checkpoint, found, pairs, thresholds)
    roc, distances = saved_figures["roc.png"].axes[0], saved_figures["distances.png"].axes[0]
    assert roc.get_title() == f"step 7: accuracy {found.accuracies.mean():.4f}, EER {found.equal_error_rate:.4f}"
    assert set(legend_of(distances)) == {
        "same (30 pairs)", "different (30 pairs)", f"threshold {thresholds.best_accuracy:.3f}, best accuracy",
        f"threshold {thresholds.at_far:.3f}, FAR 0.1"}
    assert [line.get_xdata()[0] for line in distances.get_lines()] == [thresholds.best_accuracy, thresholds.at_far]
    assert (distances.get_xlabel(), distances.get_ylabel()) == ("distance of the embeddings", "pairs")
    assert size_of(saved_figures["distances.png"]) == [800, 500]
