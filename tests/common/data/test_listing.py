"""What counts as data, and the order of frames."""
from __future__ import annotations

import os
import random

import pytest

from common.data import image_search, listing

LEFT_BEHIND = ("._0001.jpg", ".DS_Store", "Thumbs.db", "THUMBS.DB", "desktop.ini", "__MACOSX", ".ipynb_checkpoints")


@pytest.mark.parametrize("names", [
    ["0001.jpg", "0002.jpg", "0010.jpg"],  # OTB
    ["00000001.jpg", "00000002.jpg", "00000010.jpg"],  # VOT, LaSOT, GOT-10k
    ["000001.jpg", "000775.jpg", "001477.jpg"],  # UAV123
    ["1.png", "2.png", "10.png", "100.png"],
    ["img2.png", "img10.png", "img11.png"],
    ["frame.2.png", "frame.10.png", "frame.011.png"],
    ["7.png", "08.png", "9.png"],
    ["1700000000.1012.png", "1700000000.1345671.png", "1700000000.168.png", "1700000000.2012345.png",
     "1700000000.23456.png", "1700000000.2678912.png", "1700000000.3012.png", "1700000000.3345678.png"],
    ["760577.05.png", "760577.5.png"],
    ["1341845948.9.png", "1341845949.png", "1341845949.000001.png", "1341845950.25.png"],
    ["t1.25_b.png", "t1.3_a.png", "t2.05_a.png"],
    ["shot1.9.png", "shot1.10.png", "shot1.11.png"],  # they count
    ["shot1.0009.png", "shot1.0010.png", "shot1.0011.png"],
    ["a1.png", "a1_2.png", "a1_10.png", "b.png"],
    ["2024.01.02.png", "2024.01.10.png", "2024.11.01.png"],
])
def test_frames_follow_their_numbers(names):
    shuffled = list(names)
    for seed in range(5):
        random.Random(seed).shuffle(shuffled)
        assert listing.in_frame_order([f"/s/{name}" for name in shuffled]) == [f"/s/{name}" for name in names]


@pytest.mark.parametrize("names, numbers", [
    (["0001.jpg", "0003.jpg"], [1, 3]),
    (["img2.png", "img10.png"], [2, 10]),
    (["shot1.9.png", "shot1.10.png"], [9, 10]),
    (["760577.05.png", "760577.5.png"], None),
    (["760577.05.png", "760577.15.png"], None),
    (["a1.png", "b2.png"], None),
    (["x.png"], None),
])
def test_only_frames_that_are_numbered_have_numbers(names, numbers):
    assert listing.frame_numbers(names) == numbers


def test_what_systems_leave_behind_is_no_data(tmp_path):
    for name in (*LEFT_BEHIND, "0001.jpg", "0002.JPG", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder").mkdir()
    (tmp_path / "0003.jpg").mkdir()
    (tmp_path / ".hidden").mkdir()
    assert listing.names(str(tmp_path)) == ["0001.jpg", "0002.JPG", "0003.jpg", "folder", "notes.txt"]
    assert listing.files(str(tmp_path), (".jpg",)) == ["0001.jpg", "0002.JPG"]
    assert listing.folders(str(tmp_path)) == ["0003.jpg", "folder"]
    assert listing.folders(os.path.join(str(tmp_path), "nothing")) == []
    assert listing.is_path_left_behind("__MACOSX/run01/._class01.png")
    assert not listing.is_path_left_behind("./run01/class01.png")


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    """`os.walk` skips it, and with it the images that it holds."""
    (tmp_path / "a").mkdir()
    (tmp_path / "secret").mkdir()
    scan = os.scandir

    def refuse(folder):
        if os.path.basename(str(folder)) == "secret":
            raise PermissionError(13, "Permission denied", folder)
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert len(list(listing.walk(str(tmp_path / "a")))) == 1
    for read in (lambda folder: list(listing.walk(folder)), lambda folder: image_search.find_images([folder])):
        with pytest.raises(PermissionError) as caught:
            read(str(tmp_path))
        assert caught.value.filename == str(tmp_path / "secret")
