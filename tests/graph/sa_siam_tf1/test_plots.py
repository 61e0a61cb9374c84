"""What the figures of an evaluation say."""
from __future__ import annotations

import numpy as np
import pytest

from common.checkpoints.trained import Checkpoint
from sa_siam_tf1 import evaluation
from sa_siam_tf1.metrics import one_pass
from tests.figures import legend_of, size_of

pytest.importorskip("matplotlib")


def test_success_and_precision(tmp_path, saved_figures):
    overall = dict(success=np.ones(len(one_pass.OVERLAP_THRESHOLDS)), auc=0.5, precision_20=0.25,
                   precision=np.ones(len(one_pass.DISTANCE_THRESHOLDS)))
    evaluation.draw({"SA-Siam": dict(overall=overall)}, Checkpoint("/m/model.ckpt-7", None, str(tmp_path)))
    for name, entry, label in (("success", "SA-Siam [0.500]", "overlap threshold"),
                               ("precision", "SA-Siam [0.250]", "distance threshold, pixels")):
        figure = saved_figures[f"{name}.png"]
        (axis,) = figure.axes
        assert axis.get_title() == f"step 7: {name}, one-pass evaluation" and legend_of(axis) == [entry]
        assert (axis.get_xlabel(), axis.get_ylabel()) == (label, "fraction of frames")
        assert size_of(figure) == [800, 500]
