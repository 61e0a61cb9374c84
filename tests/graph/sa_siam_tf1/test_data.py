"""From annotations to crops: curation, index files, and files that are not what they should be."""
from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from common.data.images import read_rgb
from common.errors import ZooError
from common.tiny_data import tracking
from sa_siam_tf1.datasets import curation, imdb
from sa_siam_tf1.scripts import build_VID2015_imdb, preprocess_VID_data
from tests.litter import leave_litter
from tests.programs import error_line


def curate(raw, folder):
    return preprocess_VID_data.main([f"--data_path={raw}", f"--save_path={folder}"])


@pytest.fixture
def curated(tmp_path, raw):
    folder = tmp_path / "ILSVRC2015-VID-Curation"
    assert curate(raw, folder) == 0
    return folder


def crops_below(folder):
    return sorted(os.path.relpath(os.path.join(base, name), str(folder))
                  for base, _, names in os.walk(str(folder)) for name in names)


def first_of(folder, suffix):
    return next(os.path.join(base, name) for base, _, names in sorted(os.walk(str(folder)))
                for name in sorted(names) if name.endswith(suffix))


def test_curated_names_and_pixels(raw, curated):
    names = crops_below(curated)
    assert len(names) == 12 and names[0] == os.path.join(
        "Data", "VID", "train", "a", "ILSVRC2015_train_00000000", "000000.00.crop.x.jpg")
    assert {name.split(os.sep)[3] for name in names} == {"a", "b", "c"}
    frame = read_rgb(str(raw / "Data/VID/train/ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000000/000000.JPEG"))
    (box,) = curation.read_annotation(str(
        raw / "Annotations/VID/train/ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000000/000000.xml"))
    exact = curation.crop(frame, (box.y, box.x), curation.context_side(box.width, box.height)).astype(int)
    found = read_rgb(str(curated / names[0])).astype(int)
    assert found.shape == (255, 255, 3) and np.abs(found - exact).mean() < 4  # JPEG of quality 90
    center = exact[127, 127]
    assert np.abs(center - frame[int(box.y), int(box.x)]).max() < 40


def test_raw_and_curated_trees_give_the_same_pixels(raw, curated):
    from_raw, from_curated = imdb.load(str(raw)), imdb.load(str(curated))
    for one, other in ((from_raw.train, from_curated.train), (from_raw.validation, from_curated.validation)):
        assert [len(track) for track in one] == [len(track) for track in other]
        for track, other_track in zip(one, other):
            assert all(np.array_equal(crop.read(), other_crop.read()) for crop, other_crop in zip(track, other_track))
    assert any("1" in notice or "first" in notice for notice in from_raw.notices)


def test_curated_crops_are_turned_if_asked_for(curated, tmp_path):
    """A crop that is stored on its side, with the orientation that turns it back."""
    folder = tmp_path / "turned"
    shutil.copytree(str(curated), str(folder))
    path = str(folder / crops_below(curated)[0])
    wanted = read_rgb(path)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(wanted).transpose(Image.ROTATE_90).save(path, quality=100, subsampling=0, exif=exif)
    stored, upright = imdb.load(str(folder)), imdb.load(str(folder), upright=True)
    assert any("--exif_orientation turns them" in line for line in stored.notices)
    assert not any("EXIF" in line for line in upright.notices)
    found = [next(crop for part in (data.train, data.validation) for track in part for crop in track
                  if crop.path == path).read().astype(int) for data in (stored, upright)]
    assert np.abs(found[1] - wanted).mean() < 2
    assert np.abs(np.rot90(found[0], -1) - wanted).mean() < 2 < np.abs(found[0] - wanted).mean()


def test_curation_resumes_and_keeps_the_crops_that_are_there(raw, curated, capfd):
    names = crops_below(curated)
    kept, lost = (curated / name for name in names[:2])
    before, content = kept.stat().st_mtime_ns, lost.read_bytes()
    lost.unlink()
    lost.with_name(f".{lost.name}.999999999.tmp").write_bytes(content[:99])  # no process has such a number
    assert curate(raw, curated) == 0
    assert "1 crops made, 11 were there" in capfd.readouterr().out
    assert kept.stat().st_mtime_ns == before and lost.read_bytes() == content
    assert crops_below(curated) == names


def test_leftovers_of_a_killed_curation_are_removed_and_nothing_else(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    crop = "000003.00.crop.x.jpg"
    begun = [f".{crop}.{ended.pid}.tmp", f".frame 7.123.crop.x.jpg.{os.getpid()}.tmp"]
    others = [crop, f".{crop}.{os.getppid()}.tmp", f"{crop}.{ended.pid}.tmp", f".{crop}.{ended.pid}.tmp~",
              f".{crop}.tmp", f".other.jpg.{ended.pid}.tmp", f".{crop}.0.tmp", f".{crop}.{10 ** 30}.tmp"]
    for name in begun + others:
        (tmp_path / name).write_bytes(b"half a crop")
    (tmp_path / f".000004.00.crop.x.jpg.{ended.pid}.tmp").mkdir()
    preprocess_VID_data.remove_unfinished(str(tmp_path))
    assert sorted(os.listdir(str(tmp_path))) == sorted([*others, f".000004.00.crop.x.jpg.{ended.pid}.tmp"])
    preprocess_VID_data.remove_unfinished(str(tmp_path / "missing"))


def test_real_frames_through_the_raw_layout(tmp_path, shared_data):
    """Real pixels and boxes: the crop has the target in its middle 127 pixels, at the size that the context says."""
    folder = shared_data(os.path.join("tracking", "vot2013_car.zip"))
    sequence = next(base for base, names, _ in os.walk(folder) if "img" in names)
    from sa_siam_tf1.inference.otb import read_boxes

    x, y, width, height = read_boxes(os.path.join(sequence, "groundtruth_rect.txt"))[0]
    frame = read_rgb(os.path.join(sequence, "img", "0001.jpg"))
    part = ("train", "ILSVRC2015_VID_train_0000", "car")
    for kind in ("Data", "Annotations"):
        os.makedirs(str(tmp_path.joinpath("ILSVRC2015", kind, "VID", *part)))
    shutil.copy(os.path.join(sequence, "img", "0001.jpg"),
                str(tmp_path.joinpath("ILSVRC2015", "Data", "VID", *part, "000000.JPEG")))
    text = tracking.annotation("car", "000000", [(3, (int(x) - 1, int(y) - 1, int(width), int(height)))])
    tmp_path.joinpath("ILSVRC2015", "Annotations", "VID", *part, "000000.xml").write_text(text)
    data = imdb.load(str(tmp_path / "ILSVRC2015"))
    ((crop,),) = data.train
    margin = (width + height) / 2
    scale = 127 / np.sqrt((width + margin) * (height + margin))
    wanted = np.asarray(Image.fromarray(frame[int(y) - 1:int(y + height) - 1, int(x) - 1:int(x + width) - 1]).resize(
        (int(round(width * scale)), int(round(height * scale))), Image.BILINEAR), int)
    top, left = ((255 - size) // 2 for size in wanted.shape[:2])
    found = crop.read()[top:top + wanted.shape[0], left:left + wanted.shape[1]].astype(int)
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.95
    assert data.validation == []


def test_index_files(curated):
    assert build_VID2015_imdb.main([f"--data_path={curated}"]) == 0
    content = json.loads((curated / "train_imdb.json").read_text())
    assert (content["n_videos"], content["image_shape"]) == (2, [255, 255, 3])
    assert content["videos"][0] == [f"Data/VID/train/b/ILSVRC2015_train_00000001/{frame:06d}.00.crop.x.jpg"
                                    for frame in range(4)]
    with_index = imdb.load(str(curated))
    for name in imdb.IMDB_FILES:
        os.rename(str(curated / name), str(curated / f"{name}.away"))
    assert imdb.load(str(curated))[:3] == with_index[:3]


def test_the_part_val_can_validate(tmp_path, capfd):
    """Eleven videos of train, of which the first would validate, and one of val."""
    for letter, names in (("a", [f"train_{number:02d}" for number in range(11)]), ("e", ["val_00"])):
        for name in names:
            folder = tmp_path / "Data" / "VID" / "train" / letter / name
            folder.mkdir(parents=True)
            (folder / "000000.00.crop.x.jpg").touch()
    for validation, wanted in (("tenth", "a/train_00"), ("val", "e/val_00")):
        assert build_VID2015_imdb.main([f"--data_path={tmp_path}", f"--validation={validation}"]) == 0
        assert [line.rpartition(": ")[2] for line in capfd.readouterr().out.splitlines()] == [
            "11 tracks, 11 crops", "1 tracks, 1 crops"]
        content = json.loads((tmp_path / "validation_imdb.json").read_text())
        assert content["videos"] == [[f"Data/VID/train/{wanted}/000000.00.crop.x.jpg"]]
    shutil.rmtree(str(tmp_path / "Data" / "VID" / "train" / "e"))
    assert build_VID2015_imdb.main([f"--data_path={tmp_path}", "--validation=val"]) == 1
    assert "no crop in Data/VID/train/e, expected those of the part val" in error_line(capfd)


def as_pickle(curated, change=lambda name: name):
    for part, tracks in zip(("train", "validation"), imdb.split(imdb.curated_videos(str(curated)), [])):
        content = dict(videos=[[change(name) for name in track] for track in tracks], n_videos=len(tracks),
                       image_shape=(255, 255, 3))
        (curated / f"{part}_imdb.pickle").write_bytes(pickle.dumps(content, protocol=3))


def test_old_pickles_with_absolute_paths(curated):
    wanted = imdb.load(str(curated))
    as_pickle(curated, lambda name: f"/home/someone/ILSVRC2015-VID-Curation/{name}")
    assert imdb.load(str(curated))[:3] == wanted[:3]


class Evil:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


def test_a_pickle_is_not_executed(tmp_path, curated, monkeypatch):
    monkeypatch.chdir(tmp_path)
    as_pickle(curated)
    (curated / "train_imdb.pickle").write_bytes(pickle.dumps(dict(videos=[[Evil()]], image_shape=(255, 255, 3))))
    with pytest.raises(ZooError, match=r"train_imdb\.pickle: not a readable pickle of plain data.*mkdir"):
        imdb.load(str(curated))
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("content, message", [
    ("{", "cannot be read as JSON"), ("[]", "expected an object with videos"),
    ('{"videos": [], "image_shape": [255, 255, 3]}', "no track to train on"),
    ('{"videos": [["../../etc/passwd"]], "image_shape": [255, 255, 3]}', "names '../../etc/passwd'"),
    ('{"videos": [["/etc/passwd"]], "image_shape": [255, 255, 3]}', "names '/etc/passwd'"),
    ('{"videos": [["Data/VID/train/a/x.jpg"]], "image_shape": [127, 127, 3]}', "image_shape [127, 127, 3]"),
    ('{"videos": [["Data/VID/train/a/x.jpg"]], "image_shape": null}', "image_shape None, expected [255, 255, 3]"),
    ('{"videos": [["Data/VID/train/a/x.jpg"]], "image_shape": 255}', "image_shape 255, expected [255, 255, 3]"),
    ('{"videos": [["Data/VID/train/a/x.jpg"]], "image_shape": {"255": 3}}', "image_shape {'255': 3}, expected"),
    ('{"videos": [["Data/VID/train/a/x.jpg"]]}', "image_shape None, expected [255, 255, 3]"),
    (100_000 * "[", "cannot be read as JSON (maximum recursion depth"),
    ('{"videos": [["Data/VID/train/a/x.jpg"]], "image_shape": ' + 500 * "[" + 500 * "]" + "}", "image_shape [[["),
    ('{"videos": [["Data/VID/train/a/x.jpg"]], "image_shape": [255, 255, 3]}', "x.jpg: No such file"),
    ('{"videos": [["Data/VID/train/a/\\u0000.jpg"]], "image_shape": [255, 255, 3]}', "the index names it"),
], ids=lambda value: value[:80])
def test_bad_index_files(tmp_path, content, message):
    (tmp_path / "train_imdb.json").write_text(content)
    (tmp_path / "validation_imdb.json").write_text('{"videos": [], "image_shape": [255, 255, 3]}')
    with pytest.raises(ZooError) as raised:
        imdb.load(str(tmp_path))
    assert message in str(raised.value) and "\n" not in str(raised.value) and len(str(raised.value)) < 400


def test_an_image_shape_of_nested_lists_in_a_pickle(tmp_path):
    as_pickle(tmp_path)
    (tmp_path / "train_imdb.pickle").write_bytes(
        b"\x80\x03}(X\x06\x00\x00\x00videos]X\x0b\x00\x00\x00image_shape" + 9_000 * b"]" + 8_999 * b"a" + b"u.")
    with pytest.raises(ZooError, match=r"image_shape \[\[\[.*expected \[255, 255, 3\]"):
        imdb.load(str(tmp_path))


def test_one_index_file_alone_is_refused(curated):
    (curated / "train_imdb.json").write_text("{}")
    with pytest.raises(ZooError, match=r"has train_imdb\.json alone"):
        imdb.load(str(curated))


def box_xml(xmin, xmax, ymin=5, ymax=9, track=0):
    return (f"<annotation><object><trackid>{track}</trackid><bndbox><xmin>{xmin}</xmin><xmax>{xmax}</xmax>"
            f"<ymin>{ymin}</ymin><ymax>{ymax}</ymax></bndbox></object></annotation>")


@pytest.mark.parametrize("text, message", [
    ("<annotation><object>", "is not a readable annotation"),
    (box_xml(9, 3), "has a box of -5 x 5 pixels"),
    (box_xml("left", 3), "lacks trackid or bndbox"),
    ("<annotation><object><trackid>0</trackid></object></annotation>", "lacks trackid or bndbox"),
    (box_xml(500, 520), "lies outside of the frame of 160 x 120 pixels"),
    (box_xml("nan", 520), "has a box of nan x 5 pixels"),
])
def test_bad_annotations_are_named(raw, tmp_path, capfd, text, message):
    path = first_of(raw / "Annotations", ".xml")
    with open(path, "w") as file:
        file.write(text)
    assert curate(raw, tmp_path / "out") == 1
    error = error_line(capfd)
    assert message in error and os.path.basename(path)[:-4] in error


@pytest.mark.parametrize("pattern, new", [("<xmin>[0-9]+<", "<xmin>5<"), ("<trackid>0<", "<trackid>1<")])
def test_the_fingerprint_of_a_raw_tree_holds_its_boxes(raw, pattern, new):
    """Training must not resume with other boxes, even where the names and sizes of all files are the same."""
    before = imdb.load(str(raw)).fingerprint
    assert imdb.load(str(raw)).fingerprint == before and before[0] == 12
    path = first_of(raw / "Annotations", "000003.xml")  # the last frame of a video: paths keep their order
    with open(path) as file:
        text = file.read()
    changed = re.sub(pattern, new, text)
    assert changed != text
    with open(path, "w") as file:
        file.write(changed)
    after = imdb.load(str(raw)).fingerprint
    assert after[0] == before[0] and after[1] != before[1]


@pytest.mark.parametrize("box", [(80, 60, 160, 120), (0, 60, 100, 120), (80, 60, 320, 240), (159, 119, 9, 9)])
def test_boxes_that_reach_out_of_the_frame_are_cropped(box):
    """A target that fills the frame, is half outside, is twice as large, or has one corner left."""
    frame = np.full((120, 160, 3), 77, np.uint8)
    found = curation.crop_box(frame, curation.Box(0, *box), "frame.JPEG")
    assert found.shape == (255, 255, 3) and (found == 77).all()


@pytest.mark.parametrize("box, said", [((80, 60, 20_000, 5), "20000 x 5"), ((80, 60, 10, 241), "10 x 241")])
def test_boxes_far_larger_than_the_frame_are_refused(box, said):
    frame = np.zeros((120, 160, 3), np.uint8)
    with pytest.raises(ZooError, match=f"frame.JPEG: .* {said} pixels, .* 2 times the frame of 160 x 120"):
        curation.crop_box(frame, curation.Box(0, *box), "frame.JPEG")


def test_missing_and_corrupt_frames_are_named(raw, tmp_path, capfd):
    path = first_of(raw / "Data", ".JPEG")
    for change in (lambda: os.truncate(path, 900), lambda: os.remove(path)):
        change()
        assert curate(raw, tmp_path / "out") == 1
        assert f"{path}: not a readable image" in error_line(capfd)


def test_a_crop_of_another_size_is_named(curated):
    path = str(curated / crops_below(curated)[-1])
    Image.new("RGB", (100, 90)).save(path)
    data = imdb.load(str(curated))
    with pytest.raises(ZooError, match="100 x 90 pixels, expected 255 x 255"):
        for track in data.train:
            track[-1].read()


def test_a_track_called_100_is_not_one_called_00(curated):
    folder = os.path.dirname(str(curated / crops_below(curated)[0]))
    shutil.copy(os.path.join(folder, "000000.00.crop.x.jpg"), os.path.join(folder, "000000.100.crop.x.jpg"))
    tracks = imdb.curated_videos(str(curated))[0]
    assert [len(track) for track in tracks] == [4, 1] and tracks[1][0].endswith("000000.100.crop.x.jpg")


def test_check_of_a_folder(raw, capfd):
    assert imdb.main([str(raw)]) == 0
    assert "train: 2 tracks, 8 crops\nvalidation: 1 tracks, 4 crops\n" in capfd.readouterr().out


def test_a_machine_without_opencv_is_told_what_to_do(without_module):
    without_module("cv2")
    with pytest.raises(ZooError, match=r"OpenCV cannot be imported.*pip3 install -r .*requirements\.txt"):
        curation.to_jpeg(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize("kind", ["raw", "curated"])
def test_what_systems_leave_behind_is_no_data(raw, curated, tmp_path, kind):
    folder = tmp_path / "littered"
    shutil.copytree(str(raw if kind == "raw" else curated), str(folder))
    clean = imdb.load(str(folder))
    leave_litter(folder)
    found = imdb.load(str(folder))
    assert (found.train, found.validation, found.fingerprint) == (clean.train, clean.validation, clean.fingerprint)
    if kind == "curated":
        assert [sum(map(len, tracks)) for tracks in build_VID2015_imdb.divide(str(folder), "tenth")] == [8, 4]
