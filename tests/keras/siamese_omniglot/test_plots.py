"""What the figures of an evaluation say."""
from __future__ import annotations

import numpy as np
import pytest

from common.checkpoints.trained import Checkpoint
from common.plots import figures
from siamese_omniglot import plots
from tests.figures import legend_of, size_of

pytest.importorskip("matplotlib")


def test_roc_and_one_shot(tmp_path, saved_figures):
    result = dict(pairs=dict(accuracy=0.75, eer=0.25, auc=0.875),
                  official_one_shot=dict(error_rate=0.5, runs=dict(run01=0.4, run02=0.6)))
    plots.draw_evaluation(Checkpoint("/m/model.ckpt-7", None, str(tmp_path)), np.arange(8.0), np.arange(8) > 3, result)
    (roc,), (one_shot,) = saved_figures["roc.png"].axes, saved_figures["one_shot.png"].axes
    assert roc.get_title() == "step 7: accuracy 0.7500, EER 0.2500" and legend_of(roc)[0] == "AUC 0.8750"
    assert one_shot.get_title() == "step 7: one-shot error rate 0.5000" and legend_of(one_shot) == ["mean 0.5000"]
    assert (one_shot.get_xlabel(), one_shot.get_ylabel()) == ("official run", "error rate")
    assert size_of(saved_figures["one_shot.png"]) == [800, 400]


def test_losses_of_epochs(tmp_path, saved_figures):
    plots.draw_losses(figures.plotting(), str(tmp_path / "epoch_loss.png"), [3.0, 2.0, 1.0],
                      [3.0, 2.5, 2.0])
    (axis,) = saved_figures["epoch_loss.png"].axes
    assert legend_of(axis) == ["train loss", "val loss"]
    assert all(tick == int(tick) for tick in axis.get_xticks()) and axis.get_xlabel() == "Epoch"
