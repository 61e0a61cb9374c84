"""Sequences in OTB's layout become raw videos of VID: boxes worked by hand, frames byte by byte, cuts and parts."""
from __future__ import annotations

import os
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from common.data.images import read_rgb
from sa_siam_tf1.datasets import curation, imdb
from sa_siam_tf1.scripts import otb_to_vid

WIDTH, HEIGHT = 40, 30
FIRST = ["1,1,10,8", "12.4,5.6,3.5,2.5", "NaN,NaN,NaN,NaN", "41,1,5,5", "40\t30\t9\t9"]
SECOND = ["3,4,5,6", "0,0,0,0"]
# by hand: xmin, ymin, xmax, ymax counted from 0; frame 2 is rounded from 11.4, 4.6, 3.5 (to even), 2.5 (to even),
# frame 4 lies beside the frame, of frame 5 one pixel is in it
WANTED = [{0: (2, 3, 6, 8), 1: (0, 0, 9, 7)}, {1: (11, 5, 14, 6)}, {}, {}, {1: (39, 29, 47, 37)}]


@pytest.fixture
def otb(tmp_path):
    """Two targets in five JPEG frames, and one target in two PNG frames."""
    random = np.random.RandomState(0)
    for name, suffix, count in (("Runners", "jpg", 5), ("Still", "png", 2)):
        (tmp_path / "otb" / name / "img").mkdir(parents=True)
        for number in range(1, count + 1):
            image = Image.fromarray(np.kron(random.randint(0, 256, (5, 5, 3)), np.ones((6, 8, 1))).astype(np.uint8))
            image.save(str(tmp_path / "otb" / name / "img" / f"{number:04d}.{suffix}"))
    (tmp_path / "otb" / "Runners" / "groundtruth_rect.txt").write_text("\n".join(FIRST))
    (tmp_path / "otb" / "Runners" / "groundtruth_rect.2.txt").write_text("\n".join(SECOND))
    (tmp_path / "otb" / "Still" / "groundtruth_rect.txt").write_text("2,2,9,9\n2,2,9,9\n")
    return tmp_path / "otb"


def convert(otb, *flags):
    target = otb.parent / "ILSVRC2015"
    assert otb_to_vid.main([f"--data_path={otb}", f"--save_path={target}", *flags]) == 0
    return target


def boxes_in(path):
    return {int(found.findtext("trackid")): tuple(int(found.findtext(f"bndbox/{side}")) for side in (
        "xmin", "ymin", "xmax", "ymax")) for found in ElementTree.parse(str(path)).getroot().iter("object")}


def test_boxes_and_frames(otb, capsys):
    target = convert(otb)
    assert capsys.readouterr().out.splitlines() == [
        "Runners: 5 frames, targets: 2, to train", "Still: 2 frames, targets: 1, to train",
        f"2 videos of train and 0 of val in {target}"]
    video = os.path.join("VID", "train", "ILSVRC2015_VID_train_0000", "ILSVRC2015_train_00000000")
    for number, wanted in enumerate(WANTED):
        assert boxes_in(target / "Annotations" / video / f"{number:06d}.xml") == wanted
        source = otb / "Runners" / "img" / f"{number + 1:04d}.jpg"
        assert (target / "Data" / video / f"{number:06d}.JPEG").read_bytes() == source.read_bytes()
    root = ElementTree.parse(str(target / "Annotations" / video / "000004.xml")).getroot()
    assert (root.findtext("size/width"), root.findtext("size/height")) == ("40", "30")
    assert root.findtext("folder") == "ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000000"
    assert (root.findtext("filename"), len(os.listdir(str(target / "Data" / video)))) == ("000004", 5)
    png = target / "Data" / "VID" / "train" / "ILSVRC2015_VID_train_0001" / "ILSVRC2015_train_00000001" / "000001.JPEG"
    assert png.read_bytes()[:3] == b"\xff\xd8\xff"
    difference = read_rgb(str(png)).astype(int) - read_rgb(str(otb / "Still" / "img" / "0002.png"))
    assert difference.shape == (HEIGHT, WIDTH, 3) and np.abs(difference).mean() < 12  # of noise in JPEG of quality 90


def test_cuts_and_parts(otb):
    target = convert(otb, "--frames_per_video=2", "--validation=Still")
    videos = curation.raw_videos(str(target))
    assert [(video.letter, video.name, len(video.frames)) for video in videos] == [
        ("a", "ILSVRC2015_train_00000000", 2), ("b", "ILSVRC2015_train_00000001", 2),
        ("c", "ILSVRC2015_train_00000002", 1), ("e", "ILSVRC2015_val_00000000", 2)]
    assert boxes_in(videos[2].frames[0][0]) == WANTED[4]
    data = imdb.load(str(target))  # of the video without a target there is no track
    assert [len(track) for track in data.validation + data.train] == [1, 2, 1, 2]


def test_a_frame_that_is_missing_is_left_out(otb):
    (otb / "Runners" / "img" / "0002.jpg").unlink()
    (video, _) = curation.raw_videos(str(convert(otb)))
    assert [boxes_in(path) for path, _ in video.frames] == [WANTED[0], *WANTED[2:]]


@pytest.mark.parametrize("flags, status, message", [
    (["--data_path={otb}"], 2, "--save_path is needed"),
    (["--save_path={otb}/../new"], 1, 'para "data_path" must be config'),
    (["--data_path={otb}", "--save_path={otb}"], 1, "is not empty, expected a new folder"),
    (["--data_path={otb}/Still/img", "--save_path={otb}/../new"], 1, "no sequence found"),
    (["--data_path={otb}", "--save_path={otb}/../new", "--validation=Still,Bag"], 2,
     "--validation=Still,Bag: no sequence Bag, there are Runners, Still"),
])
def test_mistakes_are_one_line_and_leave_nothing(otb, capsys, flags, status, message):
    assert otb_to_vid.main([flag.format(otb=otb) for flag in flags]) == status
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert os.listdir(str(otb.parent)) == ["otb"]


def test_a_damaged_frame_is_named(otb, capsys):
    path = str(otb / "Runners" / "img" / "0003.jpg")
    os.truncate(path, 100)
    assert otb_to_vid.main([f"--data_path={otb}", f"--save_path={otb.parent / 'new'}"]) == 1
    assert f"{path}: not a readable image" in capsys.readouterr().err
