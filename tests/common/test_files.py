"""Files are replaced as a whole."""
from __future__ import annotations

import json
import os

from common import files


def test_writing_replaces_as_a_whole(tmp_path):
    path = str(tmp_path / "file.json")
    files.write_json(path, {"a": "é"})
    files.write_json(path, {"a": 2})
    with open(path, encoding="utf-8") as file:
        assert json.load(file) == {"a": 2}
    assert os.listdir(str(tmp_path)) == ["file.json"]
