"""Folders of faces: what is found and ignored, the index of a list, splits, filter, sampling."""
from __future__ import annotations

import os

import h5py
import numpy as np
import pytest

from circleloss_tf1 import faces
from circleloss_tf1.train_acc import define_flags
from common import console
from common.errors import FlagError, ZooError
from tests.graph.circleloss_tf1.conftest import make_people
from tests.litter import leave_litter


def listed(found):
    return [os.fsdecode(found.path(index)) for index in range(len(found))]


def test_scan(tmp_path):
    folder = make_people(tmp_path, b=["2.jpg", "1.JPEG", "10.png"], a=["x.png"], empty=["notes.txt"], 王=["照片.jpg"])
    os.makedirs(str(tmp_path / "a" / "nested"))
    (tmp_path / "a" / "nested" / "y.jpg").touch()
    (tmp_path / "stray.jpg").touch()
    found = faces.scan(folder)
    assert [os.path.relpath(path, folder) for path in listed(found)] == [
        "a/x.png", "b/1.JPEG", "b/10.png", "b/2.jpg", "王/照片.jpg"]
    assert found.labels.tolist() == [0, 1, 1, 1, 2]
    text = "\n".join(found.notices)
    assert "2 files that are not images" in text and "1 folders within" in text and "1 people without an image" in text


def test_a_long_scan_shows_its_progress(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(console, "_FIRST_LINE_SECONDS", 0.0)  # a line after the first person
    assert len(faces.scan(make_people(tmp_path, a=["1.jpg"], b=["1.jpg"]))) == 2
    assert capfd.readouterr().err.startswith("listing images: 1 of 2, ")


def test_names_that_are_not_unicode(tmp_path):
    folder = make_people(tmp_path, a=["1.jpg"], b=["1.jpg"])
    try:
        os.makedirs(os.path.join(os.fsencode(folder), b"\xff\xfe"))
        open(os.path.join(os.fsencode(folder), b"\xff\xfe", b"\xe9.jpg"), "wb").close()
    except OSError:
        pytest.skip("this file system takes Unicode names alone")
    assert os.path.exists(faces.scan(folder).path(2))


def test_fingerprint_changes_with_names_and_sizes(tmp_path):
    folder = make_people(tmp_path, a=["1.jpg", "2.jpg"], b=["1.jpg"])
    before = faces.scan(folder).fingerprint
    assert before[:2] == [3, 2] and faces.scan(folder).fingerprint == before
    (tmp_path / "a" / "1.jpg").write_bytes(b"another size")
    changed = faces.scan(folder).fingerprint
    os.rename(str(tmp_path / "b" / "1.jpg"), str(tmp_path / "b" / "3.jpg"))
    assert len({before[2], changed[2], faces.scan(folder).fingerprint[2]}) == 3


@pytest.mark.parametrize("people", [{}, {"a": ["1.jpg"]}, {"a": ["1.txt"], "b": []}])
def test_too_few_people(tmp_path, people):
    with pytest.raises(ZooError, match="expected at least 2 folders"):
        faces.scan(make_people(tmp_path, **people))


def test_split_is_per_person_disjoint_and_a_function_of_the_seed(tmp_path):
    found = faces.scan(make_people(tmp_path, a=[f"{n}.jpg" for n in range(10)], b=["1.jpg"], c=["1.jpg", "2.jpg"]))
    split = faces.split(found, 0.3, 0, seed=1)
    assert sorted([*split.train, *split.validation]) == list(range(13))
    assert np.bincount(found.labels[split.validation], minlength=3).tolist() == [3, 0, 1]
    again, other = faces.split(found, 0.3, 0, seed=1), faces.split(found, 0.3, 0, seed=2)
    assert again.validation.tolist() == split.validation.tolist() != other.validation.tolist()
    assert np.bincount(found.labels[faces.split(found, 0.3, 5, 1).validation], minlength=3).tolist() == [3, 0, 0]
    assert len(faces.split(found, 0.0, 0, 1).validation) == 0


def write_distances(path, images, distances):
    with h5py.File(str(path), "w") as file:
        file["distance_to_center"] = distances
        file["image_list"] = np.array(images, "S")
    return str(path)


def test_filter(tmp_path):
    found = faces.scan(make_people(tmp_path / "f", a=["1.jpg", "2.jpg", "3.jpg"], b=["1.jpg", "2.jpg"], c=["1.jpg"]))
    path = write_distances(tmp_path / "d.h5", ["/x/a/1.jpg", "/x/a/2.jpg", "/x/b/1.jpg", "/x/b/2.jpg", "/x/c/1.jpg"],
                           [0.1, 0.9, 0.2, 0.3, 1.0])
    filtered = faces.filter_by_distance(found, path, 75.0, 0)
    assert [os.path.relpath(name, str(tmp_path / "f")) for name in listed(filtered)] == [
        "a/1.jpg", "a/3.jpg", "b/1.jpg", "b/2.jpg"]
    assert filtered.labels.tolist() == [0, 0, 1, 1] and filtered.fingerprint != found.fingerprint
    assert "4 of 6 images of 2 of 3 people" in filtered.notices[-1]
    with pytest.raises(ZooError, match="fewer than 2 people"):
        faces.filter_by_distance(found, path, 75.0, 3)


def test_damaged_filter_files_are_refused(tmp_path):
    found = faces.scan(make_people(tmp_path / "f", a=["1.jpg"], b=["1.jpg"]))
    (tmp_path / "no.h5").write_bytes(b"no")
    with pytest.raises(ZooError, match="is not an HDF5 file"):
        faces.filter_by_distance(found, str(tmp_path / "no.h5"), 50.0, 0)
    with pytest.raises(ZooError, match="2 images and 3 distances"):
        faces.filter_by_distance(found, write_distances(tmp_path / "d.h5", ["a/1.jpg"] * 2, [1.0, 2.0, 3.0]), 50.0, 0)


LABELS = np.array([0] * 50 + [1] * 5 + [2], np.int32)


def test_without_replacement_every_image_once():
    sampler = faces.Sampler(LABELS, 56, "without_replacement", seed=3)
    assert sorted(sampler.indices(0)) == list(range(56))
    assert sampler.indices(0).tolist() != sampler.indices(1).tolist()
    assert faces.Sampler(LABELS, 56, "without_replacement", 3).indices(1).tolist() == sampler.indices(1).tolist()


def test_too_few_images():
    with pytest.raises(FlagError, match="draws 57 images .* and there are only 56: .* --sample_with_replacement"):
        faces.Sampler(LABELS, 57, "without_replacement", 3)


def test_with_replacement_and_class_balanced():
    drawn = faces.Sampler(LABELS, 6000, "with_replacement", 3).indices(0)
    assert np.bincount(LABELS[drawn])[0] == pytest.approx(6000 * 50 / 56, rel=0.05)
    balanced = faces.Sampler(LABELS[::-1].copy(), 6000, "class_balanced", 3).indices(0)
    np.testing.assert_allclose(np.bincount(LABELS[::-1][balanced]), 2000, rtol=0.1)
    assert set(balanced) == set(range(56))


@pytest.mark.parametrize("mode", ["without_replacement", "with_replacement", "class_balanced"])
def test_a_longer_epoch_begins_as_a_shorter_one(mode):
    """A run that is resumed with more steps may have longer epochs."""
    short, long = (faces.Sampler(LABELS, num, mode, 3).indices(0) for num in (20, 50))
    assert long[:20].tolist() == short.tolist()


def test_check_of_a_folder(tmp_path, capsys):
    assert faces.main([make_people(tmp_path, a=["1.jpg", "2.jpg"], b=["1.jpg"])]) == 0
    assert capsys.readouterr().out == "3 images of 2 people, 1 to 2 of each, 1 people with one\n"
    assert faces.main([]) == 2


def test_what_systems_leave_behind_is_no_face(tmp_path):
    folder = make_people(tmp_path, a=["1.jpg", "2.jpg"], b=["1.png"])
    clean = faces.scan(folder)
    leave_litter(folder)
    found = faces.scan(folder)
    assert listed(found) == listed(clean) and found.people == [b"a", b"b"]
    assert found.fingerprint == clean.fingerprint and found.notices == []


@pytest.fixture
def folder(tmp_path):
    made = make_people(tmp_path / "faces", Ann=["1.jpg", "2.jpg"], **{"B\u00f6b": ["x.png"], "empty": []})
    (tmp_path / "faces" / "Ann" / "notes.txt").write_text("")
    return made


def described(found):
    return ([found.path(index) for index in range(len(found))], found.labels.tolist(), found.people, found.fingerprint,
            found.notices)


def test_a_list_is_kept(folder, tmp_path, monkeypatch, capfd):
    expected = described(faces.scan(folder))
    path = str(tmp_path / "faces.npz")
    assert described(faces.scan_with_index(folder, path)) == expected
    monkeypatch.setattr(faces, "scan", lambda folder: pytest.fail("listed again"))
    assert described(faces.scan_with_index(folder, path)) == expected
    found = faces.scan_with_index(folder, path)
    assert found.labels.dtype == np.int32 and len(found.notices) == 2
    assert capfd.readouterr().out == "" and sorted(os.listdir(str(tmp_path))) == ["faces", "faces.npz"]


@pytest.mark.parametrize("change", ["new file", "removed file", "renamed file", "new person"])
def test_a_folder_that_changed_is_listed_again(folder, tmp_path, capfd, change):
    path = str(tmp_path / "faces.npz")
    faces.scan_with_index(folder, path)
    ann = os.path.join(folder, "Ann")
    if change == "new file":
        make_people(folder, Ann=["3.jpg"])
    elif change == "removed file":
        os.remove(os.path.join(ann, "2.jpg"))
    elif change == "renamed file":
        os.rename(os.path.join(ann, "2.jpg"), os.path.join(ann, "4.jpg"))
    else:
        make_people(folder, Carl=["1.jpg"])
    for text in (f"{path}: {folder} has changed, so its images are listed again\n", ""):
        assert described(faces.scan_with_index(folder, path)) == described(faces.scan(folder))
        assert capfd.readouterr().out == text


@pytest.mark.parametrize("damage", [b"", b"no index", b"PK\x03\x04 cut off"])
def test_a_damaged_index_is_written_again(folder, tmp_path, capfd, damage):
    path = tmp_path / "faces.npz"
    path.write_bytes(damage)
    for text in ("Warning", ""):
        assert described(faces.scan_with_index(folder, str(path))) == described(faces.scan(folder))
        assert capfd.readouterr().out.startswith(text) if text else capfd.readouterr().out == ""


def test_records_have_an_index_of_their_own(tmp_path):
    (tmp_path / "train.rec").write_bytes(b"")
    flags = define_flags().parse([f"--data_dir={tmp_path}", "--face_index=here.npz"])
    with pytest.raises(FlagError, match="--face_index: .* holds records"):
        faces.load(flags, str(tmp_path))
