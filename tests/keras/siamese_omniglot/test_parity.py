"""The network agrees with the recorded numbers of both originals, and the comparison notices when it would not."""
from __future__ import annotations

import os

import numpy as np
import pytest

from tests import GOLDEN
from tests.conftest import on_the_default_leg
from tests.parity import siamese_omniglot
from tests.parity.changes import beyond_tolerance, changed
from tests.parity.comparison import FixtureError

FOLDER = os.path.join(GOLDEN, "siamese_omniglot")
TENSORFLOW, TORCH, DATA = (os.path.join(FOLDER, f"{name}.npz") for name in (
    "omniglot_parity_tf2.6.5", "omniglot_parity_torch", "data_facts"))


@pytest.mark.parametrize("path, counts", [
    (TENSORFLOW, dict(features=4, logits=2, loss=1, gradient=1, step=3)),
    (TORCH, dict(features=4, logits=3, loss=2, gradient=1, step=3)), (DATA, dict(order=3))])
def test_fixtures(path, counts):
    comparison = siamese_omniglot.compare(path)
    summary = comparison.summary("siamese_omniglot", path)
    assert comparison.holds, summary
    assert {group: entry["compared"] for group, entry in summary["groups"].items()} == counts


@on_the_default_leg
def test_other_numbers_are_beyond_tolerance(tmp_path):
    comparison = siamese_omniglot.compare(changed(
        TENSORFLOW, tmp_path, feat1=lambda value: value * 1.0001, logit=lambda value: value + 1e-4,
        loss=lambda value: value + 1e-4, grad_norms=lambda value: value * 1.01, loss_step3=lambda value: value + 1e-3))
    assert not comparison.holds and beyond_tolerance(comparison) == ["features", "gradient", "logits", "loss", "step"]


def test_other_files_are_refused_as_fixtures(tmp_path):
    np.savez(str(tmp_path / "other.npz"), a=np.zeros(2))
    with pytest.raises(FixtureError, match="has neither"):
        siamese_omniglot.compare(str(tmp_path / "other.npz"))
    names = np.array(["other/kernel"] * 30)
    with pytest.raises(FixtureError, match="names: the model has"):
        siamese_omniglot.compare(changed(TENSORFLOW, tmp_path, names=names))
