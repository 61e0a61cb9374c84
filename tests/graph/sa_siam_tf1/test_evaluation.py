"""The evaluation of trackers that need no network: what is kept, what is tracked again, several at a time."""
from __future__ import annotations

import json
import os
import subprocess
import sys
import types

import pytest

from common.cli.program import StopRequest
from common.devices.selection import Device
from common.graph import compat
from common.tiny_data import tracking
from sa_siam_tf1 import evaluation
from sa_siam_tf1.configuration import ModelConfig, TrackConfig
from sa_siam_tf1.evaluate import identity_of
from sa_siam_tf1.evaluation import Contender
from sa_siam_tf1.inference.sequences import Step
from tests import ROOT


class Still:
    """Makes trackers that never move, and counts them."""

    def __init__(self):
        self.made = 0

    def __call__(self, frame, box):
        self.made += 1
        return lambda pixels: Step(list(box))


@pytest.fixture
def otb(tmp_path):
    tracking.make(str(tmp_path), num_videos=0, num_frames=3, num_sequences=1)
    return tmp_path / "OTB"


def evaluate(otb, still, identity, lines):
    return evaluation.evaluate_tracker(Contender("Still", still, identity), evaluation.find_targets(str(otb)),
                                       str(otb.parent / "kept"), StopRequest(), lines.append)


@pytest.mark.parametrize("content", ["{}", "[]", "null", "3", '{"boxes": [', "\u00ff",
                                     '{"boxes": [[1, 2, 3, 4]], "frame_seconds": [], "problems": []}',
                                     '{"boxes": [[1,2,3,4],[1,2,3,4],[1,2,3,null]], "frame_seconds":[], "problems":[]}',
                                     '{"boxes": [[1,2,3,4],[1,2,3,4],[1,2,3,4]], "frame_seconds":[], "problems": 1}'])
def test_a_kept_file_of_another_form_is_made_again(otb, content):
    still, lines = Still(), []
    first = evaluate(otb, still, [], lines)
    (path,) = (otb.parent / "kept").rglob("*.json")
    path.write_text(content, encoding="latin-1")
    assert evaluate(otb, still, [], lines)["overall"]["auc"] == first["overall"]["auc"] and still.made == 2
    assert [line for line in lines if line.startswith("Notice: ")] == [
        f"Notice: {path}: does not hold 3 tracked frames; they are tracked again"]
    assert len(json.loads(path.read_text())["boxes"]) == 3


@pytest.mark.parametrize("missing, first, last", [(1, 2, 3), (3, 1, 2)])
def test_a_missing_first_or_last_frame_leaves_the_others_to_be_scored(otb, missing, first, last):
    truth = (otb / "Drawn1" / "groundtruth_rect.txt").read_text().splitlines()
    (otb / "Drawn1" / "img" / f"{missing:04d}.jpg").unlink()
    (target,) = evaluation.find_targets(str(otb))
    assert target.notice == f"Notice: Drawn1 has 3 boxes for 2 frames; those of frames {first} to {last} are used"
    assert [",".join(f"{value:g}" for value in box) for box in target.truth] == truth[first - 1:last]
    scores = evaluate(otb, Still(), [], [])["overall"]
    assert scores["frames"] == 2


def test_boxes_are_kept_for_what_made_them(otb):
    still, lines = Still(), []
    for identity, made in (([1], 1), ([1], 1), ([2], 2), ([1], 2)):
        evaluate(otb, still, identity, lines)
        assert still.made == made
    frame = otb / "Drawn1" / "img" / "0002.jpg"
    os.utime(str(frame), ns=(1, 1))  # another file of the same name and size
    evaluate(otb, still, [1], lines)
    assert still.made == 3
    os.rename(str(otb), str(otb.parent / "Other"))
    evaluate(otb.parent / "Other", still, [1], lines)
    assert still.made == 4 and not [line for line in lines if "Notice" in line]


def test_what_boxes_depend_on(tmp_path, monkeypatch):
    (tmp_path / "a.index").write_bytes(b"one")
    of_tracker = types.SimpleNamespace(model=ModelConfig(), track=TrackConfig(), prefixes=dict(a=str(tmp_path / "a")))
    first = identity_of(of_tracker, "float32", "cpu, TensorFlow 2.21.0")
    assert identity_of(of_tracker, "float32", "cpu, TensorFlow 2.21.0") == first
    assert identity_of(of_tracker, "bfloat16", "cpu, TensorFlow 2.21.0") != first
    assert identity_of(of_tracker, "float32", "gpu, TensorFlow 2.21.0") != first
    of_tracker.track = TrackConfig(num_scales=1)
    assert identity_of(of_tracker, "float32", "cpu, TensorFlow 2.21.0") != first
    of_tracker.track = TrackConfig()
    (tmp_path / "a.index").write_bytes(b"two")
    assert identity_of(of_tracker, "float32", "cpu, TensorFlow 2.21.0") != first

    assert compat.device_and_version(Device("cpu", "0"), "cpu") == f"cpu, TensorFlow {compat.tf.__version__}"

    before = evaluation.baselines()
    monkeypatch.setattr("cv2.getVersionString", lambda: "0.0")
    after = evaluation.baselines()
    assert [one.name for one in before] == [one.name for one in after] and before[0].name == "still box"
    assert not [one for one, other in zip(before, after) if one.identity == other.identity]


AGAIN_AND_AGAIN = """
import contextlib, os, sys
from common.cli.program import StopRequest
from sa_siam_tf1 import evaluation
from sa_siam_tf1.inference.sequences import Step
otb, kept = sys.argv[1:]
make = lambda frame, box: lambda pixels: Step([box[0] + int(pixels[0, 0, 0]), *box[1:]])
still = evaluation.Contender("Still", make, [])
targets, said = evaluation.find_targets(otb), []
print("ready", flush=True)
sys.stdin.readline()
for _ in range(20):
    result = evaluation.evaluate_tracker(still, targets, kept, StopRequest(), said.append)
    print(result["overall"]["success"], result["overall"]["precision"])
    for folder, _, names in os.walk(kept):
        for name in names:
            if name.endswith(".json"):
                with contextlib.suppress(FileNotFoundError):
                    os.remove(os.path.join(folder, name))
assert not [line for line in said if "Notice" in line], said
"""


def test_evaluations_may_share_a_folder_at_the_same_time(otb, tmp_path):
    runs = [subprocess.Popen([sys.executable, "-c", AGAIN_AND_AGAIN, str(otb), str(tmp_path / "kept")], cwd=ROOT,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, universal_newlines=True) for _ in range(2)]
    for run in runs:
        assert run.stdout.readline() == "ready\n"
    for run in runs:
        run.stdin.write("\n")
        run.stdin.flush()
    lines = [run.communicate()[0].splitlines() for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert len(lines[0]) == 20 and set(lines[0]) == set(lines[1]) and len(set(lines[0])) == 1
    assert not [name for _, _, names in os.walk(str(tmp_path / "kept")) for name in names if name.endswith(".tmp")]
