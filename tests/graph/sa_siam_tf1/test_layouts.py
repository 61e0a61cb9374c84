"""Sequences of OTB, VOT, LaSOT, GOT-10k, UAV123 and TrackingNet are found with their boxes."""
from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from common.errors import ZooError
from sa_siam_tf1 import evaluation
from tests.litter import leave_litter


def write(root, frames, truth, numbers, boxes=None, digits=4):
    """Write small frames, and one box for each, or as many as said."""
    (root / frames).mkdir(parents=True, exist_ok=True)
    (root / truth).parent.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        Image.fromarray(np.zeros((12, 16, 3), np.uint8)).save(str(root / frames / f"{number:0{digits}d}.jpg"))
    (root / truth).write_text("".join(f"{number},1,5,5\n" for number in range(1, 1 + (boxes or len(numbers)))))


def found(root):
    return {target.name: [int(os.path.basename(path)[:-4]) for path in target.sequence.paths]
            for target in evaluation.find_targets(str(root))}


LAYOUTS = {
    "OTB": ("A/img", "A/groundtruth_rect.txt", 4), "VOT": ("A/color", "A/groundtruth.txt", 8),
    "LaSOT": ("cat/A/img", "cat/A/groundtruth.txt", 8), "GOT-10k": ("val/A", "val/A/groundtruth.txt", 8),
    "UAV123": ("data_seq/UAV123/A", "anno/UAV123/A.txt", 6), "TrackingNet": ("frames/A", "anno/A.txt", 1)}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path, layout):
    frames, truth, digits = LAYOUTS[layout]
    write(tmp_path, frames, truth, range(1, 12), digits=digits)
    (tmp_path / "list.txt").write_text("A")
    assert found(tmp_path) == {"A": list(range(1, 12))}
    leave_litter(tmp_path)
    assert found(tmp_path) == {"A": list(range(1, 12))}


def test_uav123_cuts_sequences_out_of_longer_ones(tmp_path):
    write(tmp_path, "data_seq/UAV123/car16", "anno/UAV123/car16_1.txt", range(1, 421), 415, 6)
    write(tmp_path, "data_seq/UAV123/car16", "anno/UAV123/car16_2.txt", [], 6, 6)
    assert found(tmp_path) == {"car16_1": list(range(1, 416)), "car16_2": list(range(415, 421))}


def test_other_layouts_are_refused_with_what_is_expected(tmp_path):
    (tmp_path / "A").mkdir()
    with pytest.raises(ZooError, match="no sequence found, expected .*groundtruth_rect.txt .*<name>/color .*UAV123"):
        evaluation.find_targets(str(tmp_path))
