"""Annotated frames: sizes, colours, files."""
from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from sa_siam_tf1.configuration import TrackConfig
from sa_siam_tf1.inference import drawing
from sa_siam_tf1.inference.tracker import Target
from tests.graph.sa_siam_tf1.test_tracker import locate


def corners(height, width):
    """A frame whose lower right quarter is red, the rest blue."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 2] = 255
    pixels[height // 2:, width // 2:] = 255, 0, 0
    return pixels


def test_a_gif_has_the_size_of_its_first_frame_and_all_of_the_later_ones(tmp_path):
    drawer = drawing.Drawer("gif", str(tmp_path))
    for number, size in enumerate(((120, 160), (480, 640), (30, 40))):
        drawn = corners(*size)
        drawer.add(number, drawn if number < 2 else np.ascontiguousarray(drawn[..., ::-1]))
    gif = Image.open(drawer.close())
    assert gif.size == (160, 120) and gif.n_frames == 3 and gif.info["loop"] == 0
    for number in range(3):
        gif.seek(number)
        shown = np.asarray(gif.convert("RGB")).astype(int)[..., ::1 if number < 2 else -1]
        for row, column, colour in ((30, 40, (0, 0, 255)), (30, 120, (0, 0, 255)), (90, 120, (255, 0, 0))):
            assert np.abs(shown[row, column] - colour).max() < 16, number


@pytest.mark.parametrize("size, wanted", [((100, 60), (60, 100)), ((1000, 3), (1, 320))])
def test_a_gif_is_made_smaller_only(tmp_path, size, wanted):
    drawer = drawing.Drawer("gif", str(tmp_path))
    drawer.add(0, corners(*size))
    assert Image.open(drawer.close()).size == wanted


def test_a_caption_is_drawn_in_the_upper_left_corner():
    frame = np.full((120, 160, 3), 128, np.uint8)
    drawn = drawing.overlay(frame, (np.nan,) * 4, None, None, "frame 7")
    changed = np.abs(drawn.astype(int) - frame).max(axis=2)
    rows, columns = (np.flatnonzero((changed > 50).any(axis=axis)) for axis in (1, 0))
    assert len(rows) and rows.max() < 20 and columns.max() < 80
    assert (drawing.overlay(frame, (np.nan,) * 4, None, None) == frame).all()


def test_a_video_has_the_best_codec_of_this_opencv(tmp_path, monkeypatch, capfd):
    """H.264 or VP9, without a word about the ones that are missing; MPEG-4 with a notice."""
    for code, is_told in ((drawing._CODES, False), (("none", "mp4v"), True)):
        monkeypatch.setattr(drawing, "_CODES", code)
        drawer = drawing.Drawer("mp4", str(tmp_path))
        for number in range(3):
            drawer.add(number, corners(48, 64))
        path = drawer.close()
        capture = drawing.load_opencv().VideoCapture(path)
        is_read, pixels = capture.read()
        assert is_read and pixels.shape == (48, 64, 3) and pixels[40, 60, 2] > 200 and pixels[10, 10, 2] < 60
        assert ("browsers do not play it" in drawer.notice) == is_told
    assert capfd.readouterr().err == ""


def test_frames_are_files_with_their_numbers(tmp_path):
    drawer = drawing.Drawer("frames", str(tmp_path))
    drawer.add(0, corners(12, 16))
    drawer.add(10, corners(12, 16))
    assert sorted(os.listdir(drawer.close())) == ["0001.jpg", "0011.jpg"]
    assert Image.open(str(tmp_path / "frames" / "0001.jpg")).size == (16, 12)


@pytest.mark.parametrize("cells, search_side", [(17, 255), (9, 191)])
def test_the_response_lies_over_the_pixels_it_was_computed_for(cells, search_side):
    """A cell is 8 pixels of the search image, in which a context of 127 has its own size."""
    side = 16 * cells
    responses = np.zeros((3, side, side), np.float32)
    responses[1, 0, 0] = 2.0  # the upper left corner is hottest
    before = Target(150.0, 170.0, 63.5, 63.5)
    found = locate(responses, before, before, TrackConfig(x_image_size=search_side))
    frame = np.zeros((300, 340, 3), np.uint8)
    drawn = drawing.overlay(frame, (np.nan,) * 4, None, found)
    rows, columns = (np.flatnonzero(drawn.any(axis=(1, 2))), np.flatnonzero(drawn.any(axis=(0, 2))))
    for places, centre in ((rows, 150), (columns, 170)):
        assert abs(places[0] - (centre - 4 * cells)) <= 1 and abs(places[-1] - (centre + 4 * cells)) <= 1
    assert not frame.any()
