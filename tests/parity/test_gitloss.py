"""Git loss agrees with the original's recorded numbers, and the comparison notices when it would not."""
from __future__ import annotations

import json
import os

import numpy as np
import pytest

from tests import GOLDEN
from tests.conftest import on_the_default_leg
from tests.parity import gitloss
from tests.parity.__main__ import main
from tests.parity.changes import beyond_tolerance, changed
from tests.parity.comparison import Comparison, FixtureError
from tests.programs import run_python

TRAINING = os.path.join(GOLDEN, "gitloss", "gitloss_parity_seed1.npz")
EVALUATION = os.path.join(GOLDEN, "gitloss", "gitloss_eval_parity.npz")


def test_training_fixture():
    comparison = gitloss.compare(TRAINING)
    summary = comparison.summary("gitloss", TRAINING)
    assert comparison.holds, summary
    counts = {group: entry["compared"] for group, entry in summary["groups"].items()}
    # 17 gradients and 2 derivatives; 9 losses; both kinds of variables after the step
    assert counts == dict(forward=4, loss=9, gradient=19, centers=3, step=1, step_max=1, step_counters=2,
                          step5_losses=1)


def test_evaluation_fixture():
    comparison = gitloss.compare(EVALUATION)
    assert comparison.holds, comparison.summary("gitloss", EVALUATION)


@on_the_default_leg
def test_other_numbers_are_beyond_tolerance_group_by_group(tmp_path):
    """A change a little larger than the tolerance in one key of each group; the groups that are left hold."""
    first = gitloss.compare(changed(TRAINING, tmp_path, out__logits=lambda value: value + 1e-3,
                                    grad__fc1__weights=lambda value: value * 1.001,
                                    after__conv3_2__weights=lambda value: value + 1e-4))
    assert not first.holds and beyond_tolerance(first) == ["forward", "gradient", "step"]
    second = gitloss.compare(changed(TRAINING, tmp_path, out__pair_term=lambda value: value + 1e-4,
                                     after__loss__centers=lambda value: value + 1e-3,
                                     after__global_step=lambda value: value + 1))
    assert not second.holds and beyond_tolerance(second) == ["centers", "loss", "step_counters"]


def test_nan_is_beyond_tolerance(tmp_path):
    comparison = gitloss.compare(changed(EVALUATION, tmp_path, out__intra_cls_dist=lambda value: value * np.nan))
    assert not comparison.holds and beyond_tolerance(comparison) == ["distances"]


@on_the_default_leg
@pytest.mark.parametrize("changes, message", [
    (dict(out__surprise=np.zeros(3)), "unknown key out/surprise"),
    (dict(out__features=None), "lacks the key out/features"),
    (dict(vars__conv9__weights=np.zeros(3)), "the model has no such variable"),
    (dict(grad__fc1__weights=None), "grad/: fc1/weights is on one side alone"),
    (dict(out__features=np.zeros((3, 2))), "out/features: shape"),
])
def test_other_files_are_refused_as_fixtures(tmp_path, changes, message):
    with pytest.raises(FixtureError, match=message):
        gitloss.compare(changed(TRAINING, tmp_path, **changes))


def test_a_fixture_with_pickles_is_not_opened(tmp_path):
    np.savez(str(tmp_path / "evil.npz"), **{"inputs/images": np.array([{}], object)})
    with pytest.raises(ValueError, match="pickle"):
        gitloss.compare(str(tmp_path / "evil.npz"))


def test_nothing_compared_does_not_hold():
    assert not Comparison().holds


def test_command(tmp_path, capsys):
    result = run_python("-m", "tests.parity", "gitloss", EVALUATION)
    assert result.returncode == 0 and json.loads(result.stdout)["holds"] is True
    assert result.stdout.count("\n") == 1

    other = changed(EVALUATION, tmp_path, out__intra_cls_dist=lambda value: value + 1)
    assert main(["gitloss", other]) == 1
    assert json.loads(capsys.readouterr().out)["holds"] is False
    (tmp_path / "no.npz").write_bytes(b"no zip")
    assert main(["gitloss", str(tmp_path / "no.npz")]) == 1
    assert main(["gitloss", str(tmp_path / "missing.npz")]) == 1
    assert capsys.readouterr().err.count("[Error]") == 2
    assert main(["resnet", EVALUATION]) == 2
