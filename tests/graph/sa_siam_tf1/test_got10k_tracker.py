"""SA-Siam under the got10k toolkit gives the boxes of our own evaluation."""
from __future__ import annotations

import json
import os

import numpy as np
import pytest
from PIL import Image

from common.errors import ZooError
from sa_siam_tf1.inference.got10k_tracker import SaSiam
from tests.graph.sa_siam_tf1.test_programs import evaluate

pytestmark = pytest.mark.usefixtures("narrow")


@pytest.fixture
def ours(appearance_run, tiny_videos):
    """Boxes of evaluate.py on the first sequence."""
    assert evaluate.main([f"--data_path={tiny_videos}/OTB/Drawn1", f"--output_path={appearance_run}", "--device=cpu",
                          "--baselines=false"]) == 0
    folder = os.path.join(str(appearance_run), "0", "evaluate", "trackers", "SA_Siam")
    (name,) = (name for name in os.listdir(folder) if name.startswith("Drawn1."))
    with open(os.path.join(folder, name), encoding="utf-8") as file:
        return np.array(json.load(file)["boxes"])


def frames_of(tiny_videos):
    folder = tiny_videos / "OTB" / "Drawn1" / "img"
    return [str(folder / name) for name in sorted(os.listdir(str(folder)))]


def test_boxes_are_those_of_evaluate(ours, appearance_run, tiny_videos):
    files = frames_of(tiny_videos)
    with SaSiam(f"--checkpoint={appearance_run}/0", "--device=cpu") as tracker:
        boxes, seconds = tracker.track(files, ours[0])
        np.testing.assert_allclose(boxes, ours, atol=1e-9)
        assert seconds.shape == (len(files),) and (seconds > 0).all() and tracker.name == "SA-Siam"
        tracker.init(Image.open(files[0]), ours[0])
        np.testing.assert_allclose(tracker.update(Image.open(files[1])), ours[1], atol=1e-9)


def test_update_needs_init(appearance_run):
    with SaSiam(f"--checkpoint={appearance_run}/0", "--device=cpu") as tracker, \
            pytest.raises(ZooError, match="before init"):
        tracker.update(np.zeros((9, 9, 3), np.uint8))


def test_an_experiment_of_the_toolkit(appearance_run, tiny_videos, ours, tmp_path, monkeypatch):
    """Its loop over a data set, and its records."""
    experiments = pytest.importorskip("got10k.experiments.otb", reason="the package got10k cannot be imported whole")
    truth = np.loadtxt(str(tiny_videos / "OTB" / "Drawn1" / "groundtruth_rect.txt"), delimiter=",")

    class DataSet:
        seq_names = ["Drawn1"]

        def __len__(self):
            return 1

        def __getitem__(self, index):
            if index:
                raise IndexError
            return frames_of(tiny_videos), truth

    experiment = experiments.ExperimentOTB.__new__(experiments.ExperimentOTB)
    experiment.dataset, experiment.result_dir = DataSet(), str(tmp_path)
    with SaSiam(f"--checkpoint={appearance_run}/0", "--device=cpu") as tracker:
        experiment.run(tracker)
    found = np.loadtxt(str(tmp_path / "SA-Siam" / "Drawn1.txt"), delimiter=",")
    np.testing.assert_allclose(found, ours, atol=1e-3)
