"""SA-Siam through its real scripts: from raw videos, or real frames, to a tracked target."""
from __future__ import annotations

import json
import os
import shutil
import sys

import pytest

from common.tiny_data import tracking
from sa_siam_tf1.datasets import imdb
from sa_siam_tf1.inference.otb import read_boxes
from tests import ROOT
from tests.programs import run
from tests.results import rows

MODEL = os.path.join(ROOT, "sa_siam_tf1")


def run_program(name, *arguments):
    """Run a program of the model by its path."""
    return run(sys.executable, os.path.join(MODEL, name), *arguments)


def test_from_raw_videos_to_crops_on_an_awkward_path(tmp_path):
    folder = tmp_path / "it's $(touch pwned); 视频"
    tracking.make(str(folder), num_videos=2, num_frames=3, num_sequences=0)
    curated = folder / "cut" / "ILSVRC2015-VID-Curation"
    for name, arguments in (
            ("scripts/preprocess_VID_data.py", [f"--data_path={folder}", f"--save_path={curated}"]),
            ("scripts/build_VID2015_imdb.py", [f"--data_path={curated.parent}"])):
        result = run_program(name, *arguments)
        assert result.returncode == 0, result.stderr
    tracks = imdb.load(str(curated))
    assert (len(tracks.train), len(tracks.validation)) == (1, 1)
    assert not list(tmp_path.rglob("pwned")) and not os.path.exists(os.path.join(ROOT, "pwned"))


@pytest.mark.slow
def test_from_real_frames_to_a_score(tmp_path, shared_data):
    """The way of the README's result, in small: real frames are converted, cropped, indexed, trained on and tracked."""
    jogging, bag = (os.path.join(shared_data(os.path.join("tracking", f"{name}.zip")), name)
                    for name in ("Jogging", "vot15_bag"))
    otb, held_out = tmp_path / "otb", tmp_path / "held_out"
    first_frames(jogging, otb / "Jogging", 6)
    first_frames(bag, held_out / "vot15_bag", 2)
    raw, crops = tmp_path / "vid" / "ILSVRC2015", tmp_path / "crops" / "ILSVRC2015-VID-Curation"
    output = tmp_path / "out"
    for name, *arguments in (
            ("scripts/otb_to_vid.py", f"--data_path={otb}", f"--save_path={raw}", "--frames_per_video=3"),
            ("scripts/preprocess_VID_data.py", f"--data_path={raw}", f"--save_path={crops}"),
            ("scripts/build_VID2015_imdb.py", f"--data_path={crops}")):
        result = run_program(name, *arguments)
        assert result.returncode == 0, result.stderr
    made = sorted(os.path.basename(path) for path in map(str, crops.rglob("*.jpg")))
    assert made == sorted(2 * [f"{frame:06d}.{track:02d}.crop.x.jpg" for frame in range(3) for track in range(2)])
    index = json.loads((crops / "train_imdb.json").read_text())
    assert (index["n_videos"], [len(track) for track in index["videos"]]) == (2, [3, 3])
    result = run("bash", os.path.join(MODEL, "test", "train_full_1p.sh"), f"--data_path={crops.parent}",
                 f"--output_path={output}", "--device=cpu", "--steps=2", "--batch_size=2")
    assert result.returncode == 0, result.stderr
    assert "2 tracks to train on, 2 to validate with" in result.stdout
    steps = rows(output / "0", "step")
    assert [row["step"] for row in steps] == [1, 2] and all(0 < row["batch_loss"] < 20 for row in steps)
    result = run_program("inference/track.py", f"--sequence={held_out / 'vot15_bag'}", f"--output_path={output}",
                         "--annotate=frames", "--json")
    assert result.returncode == 0, result.stderr
    tracked = json.loads(result.stdout)
    boxes, truth = read_boxes(tracked["boxes"]), read_boxes(str(held_out / "vot15_bag" / "groundtruth_rect.txt"))
    assert boxes.shape == (2, 4) and boxes[0] == pytest.approx(truth[0], abs=1e-3)
    assert tracked["checkpoints"]["appearance"].startswith(str(output / "0" / "ckpt" / "model.ckpt-2"))
    assert len(os.listdir(tracked["annotated"])) == 2
    result = run_program("evaluate.py", f"--data_path={held_out}", f"--output_path={output}", "--baselines=false")
    assert result.returncode == 0, result.stderr
    evaluation = json.loads((output / "0" / "evaluate" / "evaluation.json").read_text())
    assert evaluation["sequences"] == ["vot15_bag"]
    scores = evaluation["trackers"]["SA-Siam"]["overall"]
    assert scores["frames"] == 2 and 0 < scores["auc"] <= 1


def first_frames(sequence, target, count):
    """Copy the beginning of a sequence in OTB's layout."""
    (target / "img").mkdir(parents=True)
    for name in sorted(os.listdir(os.path.join(sequence, "img")))[:count]:
        shutil.copy(os.path.join(sequence, "img", name), str(target / "img"))
    for name in os.listdir(sequence):
        if name.startswith("groundtruth_rect") and "area" not in name:
            with open(os.path.join(sequence, name)) as file:
                (target / name).write_text("".join(file.readlines()[:count]))
