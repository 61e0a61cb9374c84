"""The model of docs/new_model.md, built from the code on that page, trains."""
from __future__ import annotations

import ast
import os
import re

import pytest

from tests import ROOT
from tests.conftest import on_the_default_leg
from tests.programs import run, run_python
from tests.results import rows

PAGES = ("docs/new_model.md", "docs/new_model.zh-CN.md")
CODE = re.compile(r"`(contrastive_tf1/[\w./]+)`[:：]\n\n```(?:python|sh)\n(.*?)```", re.DOTALL)
MAX_COLUMNS = 120


def page(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Return a folder with common/ and the model."""
    folder = tmp_path_factory.mktemp("zoo")
    (folder / "common").symlink_to(os.path.join(ROOT, "common"))
    (folder / "contrastive_tf1" / "test").mkdir(parents=True)
    for name, code in {**dict(CODE.findall(page(PAGES[0]))), "contrastive_tf1/__init__.py": ""}.items():
        (folder / name).write_text(code)
    return folder


def test_both_pages_have_the_same_code():
    english, chinese = (CODE.findall(page(path)) for path in PAGES)
    assert english == chinese and len(english) == 5


def test_code_reads_like_that_of_the_other_models(zoo):
    for name, code in CODE.findall(page(PAGES[0])):
        assert max(map(len, code.splitlines())) <= MAX_COLUMNS, name
        if name.endswith(".py"):
            assert ast.get_docstring(ast.parse(code))
    script = "import contrastive_tf1.train, contrastive_tf1.digits, sys; assert 'tensorflow' not in sys.modules"
    assert run_python("-c", script, cwd=zoo, PYTHONPATH=str(zoo)).returncode == 0


@on_the_default_leg
def test_it_trains_and_resumes_as_the_page_says(zoo, tmp_path, tiny_mnist_folder):
    (command,) = re.findall(r"^    (bash contrastive_tf1/.*)$", page(PAGES[0]), re.MULTILINE)
    command = command.replace("~/tiny/mnist", tiny_mnist_folder).replace("~/runs", str(tmp_path))
    folder = tmp_path / "0"
    two_steps, third = [("step", 1), ("step", 2), ("eval", 2)], [("step", 3), ("eval", 3), ("final", 3)]
    for flags, expected in (("--train_steps=2", [*two_steps, ("final", 2)]),
                            (f"--train_steps=3 --resume={folder}", [*two_steps, *third])):
        result = run("bash", "-c", re.sub(r"--train_steps=\d+", flags, command), cwd=zoo)
        assert result.returncode == 0, result.stderr
        assert [(row["kind"], row["step"]) for row in rows(folder)] == expected
        assert (folder / "ckpt" / f"model.ckpt-{expected[-1][1]}.index").exists() and (folder / "curves.png").exists()
