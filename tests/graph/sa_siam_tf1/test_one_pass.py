"""Overlaps, distances, curves and their means against cases worked by hand."""
from __future__ import annotations

import numpy as np
import pytest

from sa_siam_tf1.metrics import one_pass


def test_overlaps_by_hand():
    boxes = np.array([[1, 1, 10, 10], [1, 1, 10, 10], [1, 1, 10, 10], [0, 0, 4, 2]], float)
    others = np.array([[1, 1, 10, 10], [6, 1, 10, 10], [20, 20, 5, 5], [1, 1, 2, 4]], float)
    # the same; half of each, 50 / 150; apart; 2 x 1 of 8 + 8 - 2
    np.testing.assert_allclose(one_pass.overlaps(boxes, others), [1, 1 / 3, 0, 2 / 14])


def test_distances_by_hand():
    boxes, others = np.array([[0, 0, 11, 5], [0, 0, 3, 3.0]]), np.array([[3, 4, 11, 5], [0, 0, 9, 11.0]])
    np.testing.assert_allclose(one_pass.center_distances(boxes, others), [5, 5])


def test_scores_by_hand():
    truth = np.array([[0, 0, 10, 10.0]] * 4)
    boxes = np.array([[0, 0, 10, 10], [0, 5, 10, 10], [0, 25, 10, 10], [0, 20, 10, 10.0]])  # 1, 1/3, 0, 0
    found = one_pass.scores(boxes, truth)
    # above 0 are two, up to 0.30 (threshold 6) two, from 0.35 to 0.95 one, above 1 none
    assert found.success == [0.5] * 7 + [0.25] * 13 + [0.0]
    assert found.auc == pytest.approx((7 * 0.5 + 13 * 0.25) / 21)
    assert found.precision[:5] == [0.25] * 5 and found.precision[5:20] == [0.5] * 15
    assert found.precision_20 == 0.75 and found.precision[24:26] == [0.75, 1.0]
    assert found.mean_overlap == pytest.approx((1 + 1 / 3) / 4) and found.frames == 4


def test_frames_without_a_target_do_not_count():
    truth = np.array([[0, 0, 10, 10], [np.nan] * 4, [0, 0, 0, 0], [0, 0, 10, 10]], float)
    boxes = np.array([[0, 0, 10, 10]] * 4, float)
    found = one_pass.scores(boxes, truth)
    assert found.frames == 2 and found.mean_overlap == 1.0 and found.precision_20 == 1.0


def test_sequences_count_the_same():
    short = one_pass.scores(np.array([[0, 0, 10, 10.0]]), np.array([[0, 0, 10, 10.0]]))
    long = one_pass.scores(np.array([[50, 0, 10, 10.0]] * 9), np.array([[0, 0, 10, 10.0]] * 9))
    together = one_pass.overall([short, long])
    assert together.auc == pytest.approx(20 / 21 / 2) and together.precision_20 == 0.5 and together.frames == 10


def test_against_got10k():
    """The toolkit of the GOT-10k benchmark, where it is installed: its overlaps, distances and curves of OTB."""
    metrics = pytest.importorskip("got10k.utils.metrics", reason="the package got10k is not installed")
    otb = pytest.importorskip("got10k.experiments.otb", reason="the package got10k cannot be imported whole")
    random = np.random.RandomState(0)
    truth = np.concatenate([random.uniform(0, 50, (200, 2)), random.uniform(1, 60, (200, 2))], axis=1)
    boxes = truth + random.uniform(-1, 1, (200, 4)) * np.linspace(0, 30, 200)[:, None]
    boxes[:, 2:] = np.maximum(boxes[:, 2:], 1)
    np.testing.assert_allclose(one_pass.overlaps(boxes, truth), metrics.rect_iou(boxes, truth), atol=1e-9)
    np.testing.assert_allclose(one_pass.center_distances(boxes, truth), metrics.center_error(boxes, truth))

    experiment = otb.ExperimentOTB.__new__(otb.ExperimentOTB)  # what it is made with asks for the data set
    experiment.nbins_iou, experiment.nbins_ce = 21, 51
    success, precision = experiment._calc_curves(*experiment._calc_metrics(boxes, truth))
    found = one_pass.scores(boxes, truth)
    np.testing.assert_allclose(found.success, success, atol=1e-12)
    np.testing.assert_allclose(found.precision, precision, atol=1e-12)
    assert (found.auc, found.precision_20) == pytest.approx((success.mean(), precision[20]))
    assert 0.1 < found.auc < 0.9 and 0.1 < found.precision_20 <= 1.0
