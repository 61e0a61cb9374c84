"""Circle loss agrees with the original's recorded numbers, and the comparison notices when it would not."""
from __future__ import annotations

import os

import numpy as np
import pytest

from tests import GOLDEN
from tests.parity import circleloss
from tests.parity.__main__ import main
from tests.parity.changes import beyond_tolerance, changed
from tests.parity.comparison import FixtureError

FOLDER = os.path.join(GOLDEN, "circleloss")


@pytest.mark.parametrize("name, counts", [
    ("circle_loss_parity.npz", dict(port_loss=16, port_gradient=16, zhen_loss=48, zhen_gradient=48)),
    ("circle_train_optim_parity.npz", dict(optimisers=216, averages=96)),
    ("circle_input_parity.npz", dict(input=5, decoded=4)),
    ("lfw_parity_hard.npz", dict(rates=28, distances=4)),
    ("circle_resnet34_parity.npz", dict(rule=2, forward=18, embeddings=2, loss=8, derivatives=4, centers=2,
                                        gradient_norms=222, gradients=456)),
])
def test_fixture(name, counts):
    comparison = circleloss.compare(os.path.join(FOLDER, name))
    summary = comparison.summary("circleloss", name)
    assert comparison.holds, summary
    assert {group: entry["compared"] for group, entry in summary["groups"].items()} == counts


@pytest.mark.parametrize("name, key, change, group", [
    ("circle_input_parity.npz", "out__rgb_112.jpg", lambda value: value + np.float32(1 / 128), "input"),
    ("lfw_parity_hard.npz", "hard__metric0_sub0__distance", lambda value: value + 1e-10, "distances"),
    ("lfw_parity_hard.npz", "hard__metric1_sub1__val", lambda value: value + 1 / 30, "rates"),
])
def test_other_numbers_are_beyond_tolerance(tmp_path, name, key, change, group):
    comparison = circleloss.compare(changed(os.path.join(FOLDER, name), tmp_path, **{key: change}))
    assert beyond_tolerance(comparison) == [group]


@pytest.mark.parametrize("name, changes, message", [
    ("circle_input_parity.npz", {"surprise": np.zeros(3)}, "unknown key surprise"),
    ("circle_input_parity.npz", {"out__rgb_112.jpg": None}, "different images"),
    ("lfw_parity_hard.npz", {"hard__metric0_sub0__more": np.zeros(3)}, "unknown key hard/metric0_sub0/more"),
    ("lfw_parity_hard.npz", {"hard__issame": None}, "has none of"),
])
def test_other_files_are_refused_as_fixtures(tmp_path, name, changes, message):
    with pytest.raises(FixtureError, match=message):
        circleloss.compare(changed(os.path.join(FOLDER, name), tmp_path, **changes))


def test_command(tmp_path, capsys):
    path = os.path.join(FOLDER, "lfw_parity_hard.npz")
    assert main(["circleloss", path]) == 0
    assert '"holds": true' in capsys.readouterr().out
    assert main(["circleloss", changed(path, tmp_path, hard__metric0_sub0__val=lambda value: value + 1)]) == 1
