"""A Python without the packages is told so in one line, by every program that can be started by its path."""
from __future__ import annotations

import os
import shutil
import sys

import pytest

import common
from common import zoo
from tests import ROOT
from tests.programs import run
from tests.test_architecture import models

BY_NAME = ("common.tiny_data", "common.zoo", "common.doctor", "siamese_triplet_tf2.bad_images")


def programs():
    """Paths of what can be started by its path, relative to the root."""
    paths = ["quickstart.py"]
    for model in models():
        for folder, _, names in os.walk(os.path.join(ROOT, model)):
            for path in (os.path.join(folder, name) for name in names if name.endswith(".py")):
                with open(path, encoding="utf-8") as file:
                    if "    sys.path[0] = " in file.read():
                        paths.append(os.path.relpath(path, ROOT))
    return paths


@pytest.mark.parametrize("words", [[path] for path in programs()] + [["-m", name] for name in BY_NAME], ids=" ".join)
def test_a_python_without_packages_is_named(words):
    result = run(sys.executable, "-S", *words, *(["list"] if "common.zoo" in words else []), cwd=ROOT)
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.startswith(f"[Error] {sys.executable} lacks ") and result.stderr.count("\n") == 1


def test_all_kinds_of_programs_are_tried():
    for model in zoo.models():
        tried = [path for path in programs() if path.startswith(model.name)]
        assert {"modelarts_entry_acc.py", "evaluate.py", model.card["programs"]["train"]} <= {
            os.path.relpath(path, model.name) for path in tried}


@pytest.mark.parametrize("has_environment, advice", [(True, "use {root}/.venv/bin/python"),
                                                     (False, "run 'make setup' in {root} and use .venv/bin/python, or "
                                                             "pip install no-such-package")])
def test_the_advice_depends_on_what_is_there(monkeypatch, tmp_path, has_environment, advice):
    monkeypatch.setattr(common, "PACKAGES", {"no_such_module": "no-such-package"})
    monkeypatch.setattr(common, "ROOT", str(tmp_path))
    if has_environment:
        (tmp_path / ".venv" / "bin").mkdir(parents=True)
        shutil.copy(sys.executable, str(tmp_path / ".venv" / "bin" / "python"))
    with pytest.raises(SystemExit) as ended:
        common.require_packages()
    assert ended.value.code == f"[Error] {sys.executable} lacks no-such-package: {advice.format(root=tmp_path)}"
