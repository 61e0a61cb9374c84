"""The index of a folder of faces: used as long as it is true."""
from __future__ import annotations

import os

import numpy as np
import pytest

from circleloss_tf1 import faces
from circleloss_tf1.data_folders import load_faces
from circleloss_tf1.train_acc import define_flags
from common.errors import FlagError
from tests.graph.circleloss_tf1.conftest import make_people


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
        load_faces(flags, str(tmp_path))
