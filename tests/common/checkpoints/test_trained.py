"""Where programs write, and which run a checkpoint belongs to."""
from __future__ import annotations

import types

import pytest

from common.checkpoints import trained


def find(path):
    flags = types.SimpleNamespace(checkpoint=str(path), output_path=str(path / "elsewhere"))
    return trained.find(flags, "/no/model", "predict", {})


@pytest.mark.parametrize("folders, belongs", [
    ("", True), ("ckpt", True), ("track_model_checkpoints/SA-Siam-Appearance", True), ("a/b/c", False),
])
def test_a_checkpoint_belongs_to_the_run_that_it_lies_in(tmp_path, folders, belongs):
    run = tmp_path / "runs" / "0"
    (run / folders).mkdir(parents=True)
    (run / "arguments.json").write_text("{}")
    path = run / folders / "model.ckpt-6649"
    (run / folders / "model.ckpt-6649.index").write_text("")
    found = find(path)
    assert found.prefix == str(path)
    wanted = (str(run), str(run / "predict")) if belongs else (None, str(path / "elsewhere" / "predict"))
    assert (found.run_path, found.folder) == wanted


def test_a_run_within_a_run_has_its_own(tmp_path):
    inner = tmp_path / "0" / "again"
    (inner / "ckpt").mkdir(parents=True)
    for run in (tmp_path / "0", inner):
        (run / "arguments.json").write_text("{}")
    (inner / "ckpt" / "model.ckpt-1.index").write_text("")
    assert find(inner / "ckpt" / "model.ckpt-1").run_path == str(inner)
