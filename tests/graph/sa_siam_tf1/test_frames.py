"""Frames of folders and videos: their order, gaps, boxes."""
from __future__ import annotations

import os
import threading

import numpy as np
import pytest
from PIL import Image

from common.data import images
from common.errors import ZooError
from sa_siam_tf1 import evaluation
from sa_siam_tf1.inference import frames, otb, targets, track
from tests import odd_images
from tests.graph.sa_siam_tf1.conftest import write_video


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
    (["1700000000.168.png", "1700000000.1345671.png", "1700000000.2012345.png"],  # digits behind a point: a fraction
     ["1700000000.1345671.png", "1700000000.168.png", "1700000000.2012345.png"]),
    (["760577.05.png", "760577.5.png"], ["760577.05.png", "760577.5.png"]),
])
def test_gaps_are_seen_where_names_count(tmp_path, names, wanted):
    assert found_names(write_frames(tmp_path / "S", names)) == wanted


def test_two_frames_of_a_number_are_refused(tmp_path):
    with pytest.raises(ZooError, match="1.png and 0?1.png: are both frame 1"):
        frames.open_sequence(str(write_frames(tmp_path / "S", ["1.png", "01.png"])))


def test_what_systems_leave_behind_is_no_frame(tmp_path):
    """310 frames of OTB's David, whose boxes begin at frame 300, as macOS copies them to a USB stick."""
    names = [f"{number:04d}.jpg" for number in range(1, 311)]
    folder = write_frames(tmp_path / "David" / "img", names)
    for name in (*(f"._{name}" for name in names), ".DS_Store"):
        (folder / name).write_bytes(b"\0\5\x16\7")
    truth = tmp_path / "David" / "groundtruth_rect.txt"
    truth.write_text("1,1,5,5\n" * 11)
    (tmp_path / "David" / "._groundtruth_rect.txt").write_bytes(b"\0\5\x16\7")
    (tmp_path / "__MACOSX" / "David" / "img").mkdir(parents=True)
    assert found_names(tmp_path / "David") == names
    (target,) = evaluation.find_targets(str(tmp_path))
    assert [os.path.basename(path) for path in target.sequence.paths] == names[299:]
    assert target.sequence.first_number == 300 and target.truth.shape == (11, 4)


def boxes_of(count):
    """Boxes that tell which they are by their x, from 1."""
    return np.array([[number, 1, 5, 5] for number in range(1, count + 1)], float)


def aligned(name, numbers, boxes, prefix=""):
    """Which frame got which box."""
    paths = [f"/s/{prefix}{number}.png" for number in numbers]
    sequence = frames.Sequence(name, *frames.number_gaps(paths), None)
    found = otb.align(sequence, boxes)
    taken = found.sequence.part(found.start, found.start + len(found.boxes))
    return ([(path and int(os.path.basename(path)[len(prefix):-4]), int(box[0]))
             for path, box in zip(taken.paths, found.boxes)], taken.first_number, found.notice)


@pytest.mark.parametrize("name, numbers, count, pairs", [
    ("S", [2, 3, 4], 4, [(2, 2), (3, 3), (4, 4)]),  # the first frame is missing
    ("S", [1, 2, 3], 4, [(1, 1), (2, 2), (3, 3)]),  # the last one
    ("S", [3, 4], 5, [(3, 3), (4, 4)]),  # both
    ("S", [1, 2, 4], 4, [(1, 1), (2, 2), (None, 3), (4, 4)]),  # one in the middle
    ("S", [1, 3, 5], 3, [(1, 1), (3, 2), (5, 3)]),  # every second one, as the boxes
    ("S", [247, 248, 249], 3, [(247, 1), (248, 2), (249, 3)]),  # OTB's BlurCar1 begins there
    ("S", [0, 1, 2, 3], 3, [(0, 1), (1, 2), (2, 3)]),  # counted from 0
    ("S", [1, 2, 3, 4], 2, [(1, 1), (2, 2)]),  # boxes end early
    ("S", [247, 248, 249], 1, [(247, 1)]),  # the first box alone
    ("David", range(1, 303), 3, [(300, 1), (301, 2), (302, 3)]),
    ("David", range(1, 302), 301, [(number, number) for number in range(1, 302)]),
    ("David", range(1, 302), 3, [(1, 1), (2, 2), (3, 3)]),  # those boxes would end behind the last frame
])
def test_boxes_find_their_frames(name, numbers, count, pairs):
    found, first, notice = aligned(name, numbers, boxes_of(count))
    assert found == pairs
    if count == len(numbers):
        assert not notice
    elif count > len(pairs) or count < len(numbers):
        assert f"{name} has {count} boxes for {len(numbers)} frames; those of frames {pairs[0][0]} to " in notice
        assert first == pairs[0][0]


def test_tracking_begins_where_the_target_is_to_be_seen():
    boxes = boxes_of(4)
    boxes[0], boxes[1, 2:] = np.nan, 0
    found, first, notice = aligned("S", [1, 2, 3, 4], boxes)
    assert (found, first) == ([(3, 3), (4, 4)], 3) and "those of frames 3 to 4 are used" in notice


def test_boxes_without_frames_are_refused():
    with pytest.raises(ZooError, match="S: has 4 boxes for 3 frames that are not numbered"):
        otb.align(frames.Sequence("S", ["a.png", "b.png", "c.png"], 1, False, None), boxes_of(4))
    with pytest.raises(ZooError, match="S: has 2 boxes for 3 frames, and for none of these one with an extent"):
        aligned("S", [1, 2, 3], np.zeros((2, 4)))


def test_one_rule_for_several_files_of_boxes(tmp_path):
    for name in ("groundtruth.txt", "groundtruth_rect.1.txt", "groundtruth_rect.2.txt", "groundtruth.3.txt", "x.txt"):
        (tmp_path / name).write_text("1,1,1,1")
    found = {number: os.path.basename(path) for number, path in otb.truth_files(str(tmp_path)).items()}
    assert found == {1: "groundtruth_rect.1.txt", 2: "groundtruth_rect.2.txt", 3: "groundtruth.3.txt"}
    (tmp_path / "groundtruth_rect.txt").write_text("1,1,1,1")
    assert os.path.basename(otb.truth_files(str(tmp_path))[1]) == "groundtruth_rect.txt"


def test_boxes_of_editors_and_of_polygons(tmp_path):
    path = tmp_path / "boxes.txt"
    path.write_bytes(b"\xef\xbb\xbf1,2,3,4\r\n\r\n# no box\n5\t6 7;8,\nNaN,NaN,NaN,NaN\n1,2,5,2,5,9,1,9\n")
    np.testing.assert_array_equal(otb.read_boxes(str(path)),
                                  [[1, 2, 3, 4], [5, 6, 7, 8], [np.nan] * 4, [1, 2, 4, 7]])


@pytest.mark.parametrize("content", [b"\xff\xd8\xff\xe0", b"1,2,3,4\n\x80"])
def test_binary_files_of_boxes_are_refused(tmp_path, content):
    (tmp_path / "boxes.txt").write_bytes(content)
    with pytest.raises(ZooError, match="boxes.txt: is not text; expected a box"):
        otb.read_boxes(str(tmp_path / "boxes.txt"))


def test_what_is_tracked_and_what_is_drawn(tmp_path):
    """Frames 2 to 4 of 4: without --box from the first that is there, with it from the first of the folder."""
    write_frames(tmp_path / "S" / "img", ["0002.png", "0003.png", "0004.png"])
    (tmp_path / "S" / "groundtruth_rect.txt").write_text("1,1,5,5\n2,1,5,5\n3,1,5,5\n4,1,5,5\n")
    path = str(tmp_path / "S")
    sequence = frames.open_sequence(path)
    flags = track.define_flags().parse(["--sequence=S"])
    tracked, box, truth, notice = targets.align_to_first_box(flags, sequence, path, "/no/model")
    assert (tracked.first_number, len(tracked.paths), box[0], truth[:, 0].tolist()) == (2, 3, 2, [2, 3, 4])
    assert notice == "Notice: S has 4 boxes for 3 frames; those of frames 2 to 4 are used"

    (tmp_path / "S" / "groundtruth_rect.txt").write_text("NaN NaN NaN NaN\n3,1,5,5\n4,1,5,5\n")
    flags = track.define_flags().parse(["--sequence=S", "--box=9,1,5,5"])
    tracked, box, truth, notice = targets.align_to_first_box(flags, sequence, path, "/no/model")
    assert (tracked.first_number, len(tracked.paths), box[0]) == (2, 3, 9)
    np.testing.assert_array_equal(truth[:, 0], [np.nan, 3, 4])


def test_frames_of_a_video_come_in_order_and_all(tmp_path):
    lines = []
    video = frames.open_sequence(str(write_video(tmp_path / "v.avi", 30)))
    found = [frame.pixels.mean() for frame in frames.frames_of(video, lines.append)]
    np.testing.assert_allclose(found, 20 + 6 * np.arange(30), atol=2)
    assert not lines


def test_a_video_that_was_cut_off_is_noticed(tmp_path):
    path, lines = write_video(tmp_path / "v.avi", 30), []
    os.truncate(str(path), os.path.getsize(str(path)) // 2)
    found = list(frames.frames_of(frames.open_sequence(str(path)), lines.append))
    assert 8 < len(found) < 24
    assert lines == [f"Warning: {path}: announces 30 frames, {len(found)} can be read; is it cut off?"]


@pytest.mark.parametrize("is_video", [True, False])
def test_reading_ahead_ends_with_who_takes_the_frames(tmp_path, is_video, monkeypatch):
    before, read = set(threading.enumerate()), []
    if is_video:
        path = write_video(tmp_path / "v.avi", 30)
    else:
        path = write_frames(tmp_path / "S", [f"{number}.png" for number in range(30)])
        black = np.zeros((8, 8, 3), np.uint8)
        monkeypatch.setattr(images, "read_rgb", lambda path, background: read.append(path) or black)
    given = frames.frames_of(frames.open_sequence(str(path)), pytest.fail)
    for _ in range(3):
        assert next(given).pixels is not None
    assert set(threading.enumerate()) - before
    given.close()
    assert not set(threading.enumerate()) - before and len(read) <= 3 + 8


def test_a_video_with_other_boxes_than_frames_begins_with_both(tmp_path):
    video = frames.open_sequence(str(write_video(tmp_path / "v.avi", 2)))
    found = otb.align(video, boxes_of(9))
    assert (found.start, len(found.boxes), found.notice) == (0, 9, "")


def test_results_of_two_sequences_lie_apart(tmp_path):
    """A sequence is called after its folder, not after img/; another one of the same name gets a folder of its own."""
    made = [write_frames(tmp_path / name / "img", ["0001.png"]) for name in ("A", "B", "other/A")]
    first, inner, second, third = (frames.open_sequence(str(path)) for path in (
        made[0].parent, made[0], made[1], made[2].parent))
    assert [one.name for one in (first, inner, second, third)] == ["A", "A", "B", "A"]
    results = tmp_path / "predict"
    for sequence, wanted in ((first, "A"), (inner, "A.2"), (second, "B"), (third, "A.3"), (first, "A.4")):
        assert track.result_folder(str(results), sequence.name) == str(results / wanted)
        assert os.listdir(str(results / wanted)) == []


def test_frames_are_turned_and_blended_as_a_viewer_shows_them(tmp_path):
    """The first frame is stored on its side, the second is transparent but for a square."""
    (tmp_path / "S").mkdir()
    for number, kind in enumerate(("orientation_6", "alpha"), 1):
        path = odd_images.make(str(tmp_path), kind)
        os.rename(path, str(tmp_path / "S" / f"{number}{os.path.splitext(path)[1]}"))
    sequence = frames.open_sequence(str(tmp_path / "S"))
    turned, white = (frame.pixels.astype(int) for frame in frames.frames_of(sequence, pytest.fail))
    assert np.abs(turned - odd_images.shown("orientation_6")).mean() < odd_images.TOLERANCE
    assert np.array_equal(white, odd_images.shown("alpha"))
    _, black = frames.frames_of(sequence._replace(background="black"), pytest.fail)
    assert (black.pixels[40, 60] == 0).all() and (white[40, 60] == 255).all()
