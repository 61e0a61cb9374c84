"""Rows measured anew replace those of the same subject and deed in both languages; the others stay."""
from __future__ import annotations

import pytest

from tests.robustness import __main__ as robustness
from tests.robustness import table
from tests.robustness.programs import MODELS
from tests.robustness.table import Row


@pytest.fixture
def pages(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "ROOT", str(tmp_path))
    (tmp_path / "docs").mkdir()
    paths = [tmp_path / page for page in table.PAGES]
    for path, head, subject in zip(paths, table.HEADS, ("triplet network", "三元组网络")):
        path.write_text(f"Before.\n\n{head}\n|---|\n| {subject} | killed 3 | 3 | 2 | 1 | x |\n"
                        "| y | z | 1 | 1 | 0 | x |\n\nAfter.\n", encoding="utf-8")
    return paths


def test_pages_are_updated(pages):
    rows = [Row("siamese_triplet", ("killed 5", "killed 5"), 5, 0), Row("png", ("new", "新"), 7, 1)]
    table.update_pages(rows, "today")
    for page, subject, what in zip(pages, ("triplet network", "三元组网络"), ("new", "新")):
        assert page.read_text(encoding="utf-8").split("\n")[4:] == [
            f"| {subject} | killed 5 | 5 | 5 | 0 | today |", "| y | z | 1 | 1 | 0 | x |",
            f"| png | {what} | 7 | 6 | 1 | today |", "", "After.", ""]


def test_every_section_has_tests_of_its_names():
    for section in robustness.SECTIONS.values():
        with open(f"{table.ROOT}/tests/robustness/{section.file}", encoding="utf-8") as file:
            content = file.read()
        assert all(f"def {function}" in content for function in section.rows)


TESTS = """
import pytest

@pytest.mark.parametrize("name", ["a", "b"])
def test_passes(name, record_property):
    record_property("tried", 6)

@pytest.mark.parametrize("name", ["a", "b c"])
def test_partly_fails(name):
    assert name == "a"

def test_skipped():
    pytest.skip("not here")

def test_of_another_section():
    assert False
"""


def test_what_is_lost_is_counted_and_the_status_is_1(tmp_path, monkeypatch, capsys):
    (tmp_path / "test_some.py").write_text(TESTS)
    file = str(tmp_path / "test_some.py")
    sections = {"good": robustness.Section(file, {"test_passes": ("passed", ""), "test_skipped": ("skipped", "")}),
                "bad": robustness.Section(file, {"test_partly_fails": ("failed", "")}, ""),
                "other": robustness.Section(file, {"test_of_another_section": ("other", "")})}
    monkeypatch.setattr(robustness, "SECTIONS", sections)
    assert robustness.main(["good"]) == 0
    out = capsys.readouterr().out
    assert "| all models | passed | 12 | 12 | 0 |" in out and "failed" not in out and "| skipped" not in out
    assert robustness.main(["good", "bad"]) == 1
    out = capsys.readouterr().out
    for row in ("all models | passed | 12 | 12 | 0", "a | failed | 1 | 1 | 0", "b c | failed | 1 | 0 | 1"):
        assert f"| {row} |" in out
    assert "test_passes[a] PASSED" in out and "other |" not in out


def test_a_job_of_each_model_and_one_row_for_all(tmp_path, monkeypatch, capsys):
    names = [model.name for model in MODELS]
    (tmp_path / "test_some.py").write_text(TESTS.replace('["a", "b"]', str(names)))
    file = str(tmp_path / "test_some.py")
    monkeypatch.setattr(robustness, "CONDITIONS", file)
    monkeypatch.setattr(robustness, "SECTIONS", {"some": robustness.Section(file, {"test_passes": ("passed", "")})})
    assert robustness.main(["some", "--jobs=5"]) == 0
    out, _, table_at_the_end = capsys.readouterr().out.partition("minutes")
    assert out.count("1 passed") == out.count("| all models | passed | 6 | 6 | 0 |") == 5
    assert "| all models | passed | 30 | 30 | 0 |" in table_at_the_end


def test_tests_that_do_not_run_are_lost(tmp_path, monkeypatch, capsys):
    (tmp_path / "test_some.py").write_text("import os\nos._exit(3)\n")
    monkeypatch.setattr(robustness, "SECTIONS", {"one": robustness.Section(str(tmp_path / "test_some.py"), {
        "test_passes": ("passed", "")})})
    assert robustness.main(["one"]) == 1
    assert "test_some.py | ended with status 3 | 1 | 0 | 1 |" in capsys.readouterr().out
