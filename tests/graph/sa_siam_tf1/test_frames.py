"""Frames of folders and videos: their order, gaps, boxes."""
from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from common.program import ZooError
from sa_siam_tf1.inference import frames


def write_frames(folder, names, size=(16, 12)):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(np.zeros((size[1], size[0], 3), np.uint8)).save(str(folder / name))
    return folder


def found_names(folder):
    return [path and os.path.basename(path) for path in frames.open_sequence(str(folder)).paths]


@pytest.mark.parametrize("prefix", ["", "img", "cam2_"])
def test_frames_are_in_the_order_of_their_numbers(tmp_path, prefix):
    names = [f"{prefix}{number}.png" for number in range(1, 12)]
    assert found_names(write_frames(tmp_path / "S", names)) == names


@pytest.mark.parametrize("names, wanted", [
    (["img00001.png", "img00003.png"], ["img00001.png", None, "img00003.png"]),
    (["8.png", "11.png"], ["8.png", None, None, "11.png"]),
    (["a1.png", "b3.png"], ["a1.png", "b3.png"]),  # two prefixes do not count together
    (["9.png", "1700000000.png"], ["9.png", "1700000000.png"]),  # time stamps do not count
    (["b\u00b2.png", "a.png"], ["a.png", "b\u00b2.png"]),
])
def test_gaps_are_seen_where_names_count(tmp_path, names, wanted):
    assert found_names(write_frames(tmp_path / "S", names)) == wanted


def test_two_frames_of_a_number_are_refused(tmp_path):
    with pytest.raises(ZooError, match="01.png: has the same number as 1.png|1.png: has the same number as 01.png"):
        frames.open_sequence(str(write_frames(tmp_path / "S", ["1.png", "01.png"])))
