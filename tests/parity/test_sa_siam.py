"""SA-Siam agrees with the original's recorded numbers, and the comparison notices when it would not."""
from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest

from tests import GOLDEN
from tests.parity import sa_siam
from tests.parity.__main__ import main
from tests.parity.changes import beyond_tolerance, changed
from tests.parity.comparison import FixtureError

FOLDER = os.path.join(GOLDEN, "sa_siam")

COUNTS = {"parity_train_appearance.npz": dict(gradient_norm_appearance=22, gradient_norm_semantic=1,
                                              batch_statistics=24, weight_decay=8, batch_loss=2, total_loss=1),
          "parity_train_semantic.npz": dict(gradient_norm_semantic=13, weight_decay=10, batch_loss=2, total_loss=1),
          "parity_train_both.npz": dict(gradient_norm_appearance=22, gradient_norm_semantic=13, batch_statistics=24,
                                        weight_decay=18, batch_loss=2, total_loss=1),
          "parity_infer.npz": dict(boxes=9, argmax=9, decoding=3),
          "parity_data.npz": dict(crop=6, pairs=9, order=1, resize=20, zero_border=5),
          "parity_metrics.npz": dict(metrics=5)}


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_fixtures(tmp_path, name):
    """Each from a folder of its own, so that tracking has to find the golden frames."""
    shutil.copy(os.path.join(FOLDER, name), str(tmp_path))
    comparison = sa_siam.compare(str(tmp_path / name))
    summary = comparison.summary("sa_siam", name)
    assert comparison.holds, summary
    for group, count in COUNTS[name].items():
        assert summary["groups"][group]["compared"] == count, group


def test_a_folder_of_frames(tmp_path, capsys):
    folder = os.path.join(FOLDER, "frames", "seq6")
    assert main(["sa_siam", folder]) == 0
    assert json.loads(capsys.readouterr().out)["groups"]["boxes"]["error"] <= 1e-3
    shutil.copytree(folder, str(tmp_path / "seq"))
    path = tmp_path / "seq" / "reference_boxes.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]))
    assert main(["sa_siam", str(tmp_path / "seq")]) == 1
    assert "5 boxes for 6 frames" in capsys.readouterr().err


def test_a_damaged_frame_is_one_line(tmp_path, capsys):
    """In a folder of frames, and beside a fixture, where frames are sought first."""
    shutil.copy(os.path.join(FOLDER, "parity_infer.npz"), str(tmp_path))
    shutil.copytree(os.path.join(FOLDER, "frames"), str(tmp_path / "frames"))
    damaged = tmp_path / "frames" / "seq6" / "0003.jpg"
    os.truncate(str(damaged), 300)
    for fixture in (tmp_path / "parity_infer.npz", damaged.parent):
        assert main(["sa_siam", str(fixture)]) == 1
        error = capsys.readouterr().err
        assert f"{damaged}: not a readable image" in error and error.count("\n") == 1


@pytest.mark.parametrize("size", [0, 30, 100_000])
def test_a_damaged_fixture_is_one_line(tmp_path, capsys, size):
    path = tmp_path / "parity_metrics.npz"
    shutil.copy(os.path.join(FOLDER, path.name), str(path))
    os.truncate(str(path), min(size, path.stat().st_size // 2))
    assert main(["sa_siam", str(path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"[Error] {path}: ") and error.count("\n") == 1


def test_other_numbers_are_beyond_tolerance(tmp_path):
    data, metrics = (os.path.join(FOLDER, f"parity_{name}.npz") for name in ("data", "metrics"))
    comparison = sa_siam.compare(changed(
        data, tmp_path, crop__out=lambda value: value ^ 1, vid__downsample_10=lambda value: value[::-1],
        resize_bilinear_250__mean=lambda value: value + 1e-3))
    assert beyond_tolerance(comparison) == ["crop", "pairs", "resize"]
    comparison = sa_siam.compare(changed(metrics, tmp_path, center_dist_error_final=lambda value: value + 1e-3))
    assert beyond_tolerance(comparison) == ["metrics"]


@pytest.mark.parametrize("changes, message", [
    (dict(responses=None), "has none of"), (dict(surprise=np.zeros(2)), "unknown key surprise"),
    (dict(center_score_error_final=None), "lacks the key center_score_error_final"),
])
def test_other_files_are_refused_as_fixtures(tmp_path, changes, message):
    with pytest.raises(FixtureError, match=message):
        sa_siam.compare(changed(os.path.join(FOLDER, "parity_metrics.npz"), tmp_path, **changes))
