"""Files are replaced as a whole."""
from __future__ import annotations

import json
import os
from types import SimpleNamespace

import pytest

from common import atomic_files


def test_writing_replaces_as_a_whole(tmp_path):
    path = str(tmp_path / "file.json")
    atomic_files.write_json(path, {"a": "é"})
    atomic_files.write_json(path, {"a": 2})
    with open(path, encoding="utf-8") as file:
        assert json.load(file) == {"a": 2}
    assert os.listdir(str(tmp_path)) == ["file.json"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_has_not_become_null(value):
    content = {"a": [value, {"b": value}], "c": 1.5}
    assert json.loads(atomic_files.to_json(content)) == {"a": [None, {"b": None}], "c": 1.5}


def test_paths_that_are_not_utf8_can_be_written(tmp_path):
    path = os.fsdecode(b"/data/\xff")
    atomic_files.write_json(str(tmp_path / "f"), {"path": path})
    with open(str(tmp_path / "f"), encoding="utf-8") as file:
        assert json.load(file) == {"path": path}


def test_space_is_required(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic_files.shutil, "disk_usage", lambda folder: SimpleNamespace(free=99))
    atomic_files.require_space(str(tmp_path), 99)
    with pytest.raises(OSError, match="No space left on device"):
        atomic_files.require_space(str(tmp_path), 100)
