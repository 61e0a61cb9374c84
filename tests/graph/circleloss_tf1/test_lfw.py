"""pairs.txt: its lines, its images, its folds."""
from __future__ import annotations

import os

import numpy as np
import pytest

from circleloss_tf1 import lfw, thresholds, train_acc
from common.errors import ZooError
from tests.conftest import ROOT
from tests.graph.circleloss_tf1.conftest import make_people


def make(folder, pairs, **people):
    os.makedirs(str(folder), exist_ok=True)
    path = os.path.join(make_people(folder, **people), "pairs.txt")
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(pairs)
    return path


PEOPLE = dict(Ann=["Ann_0001.jpg", "Ann_0002.png"], Bob=["Bob_0001.jpeg", "Bob_0010.jpg"], Zoë=["Zoë_0001.jpg"])
LINES = "2\t1\nAnn\t1\t2\nAnn\t1\tZoë\t1\n\nBob\t1\t10\nBob\t10\tAnn\t2\n"


def test_read(tmp_path):
    found = lfw.read_pairs(make(tmp_path, LINES, **PEOPLE), str(tmp_path), 2, "strict")
    assert [os.path.basename(path) for path in found.paths] == [
        "Ann_0001.jpg", "Ann_0002.png", "Ann_0001.jpg", "Zoë_0001.jpg", "Bob_0001.jpeg", "Bob_0010.jpg", "Bob_0010.jpg",
        "Ann_0002.png"]
    assert found.is_same.tolist() == [True, False, True, False] and found.notices == []


def test_missing_images(tmp_path):
    path = make(tmp_path, LINES + "Ann\t1\t3\nAnn\t7\tEve\t8\n", **PEOPLE)
    with pytest.raises(ZooError, match=r"3 images of .*pairs.txt are missing, the first is Ann/Ann_0003.jpg; "
                                       "--lfw_missing=skip"):
        lfw.read_pairs(path, str(tmp_path), 2, "strict")
    found = lfw.read_pairs(path, str(tmp_path), 2, "skip")
    assert len(found.is_same) == 4 and "3 missing images, 4 pairs are left" in found.notices[-1]


@pytest.mark.parametrize("line", ["Ann\t1", "Ann\tone\t2", "Ann\t1\t2\tBob\t3", "../x\t1\t2", "Ann\t1\tBob\tx",
                                  "..\t1\t2"])
def test_lines_of_another_form(tmp_path, line):
    with pytest.raises(ZooError, match="pairs.txt: line 7 is"):
        lfw.read_pairs(make(tmp_path, LINES + line + "\n", **PEOPLE), str(tmp_path), 2, "skip")


@pytest.mark.parametrize("content", ["", "2\t1\n", "2\t1\nAnn\t1\t2\n"])
def test_too_few_pairs(tmp_path, content):
    with pytest.raises(ZooError, match="too few for --lfw_nrof_folds=2"):
        lfw.read_pairs(make(tmp_path, content, **PEOPLE), str(tmp_path), 2, "skip")


def test_too_few_pairs_to_distribute(tmp_path):
    """4 same and 6 different pairs in folds of 3, 3, 2 and 2: evenly distributed, one fold has no same pair."""
    lines = ["1\t5"] + ["Ann\t1\t2"] * 4 + ["Ann\t1\tBob\t1"] * 6
    with pytest.raises(ZooError, match="fold 3 of 4 has only different pairs, even if .* smaller --lfw_nrof_folds"):
        lfw.read_pairs(make(tmp_path, "\n".join(lines), **PEOPLE), str(tmp_path), 4, "strict")


def test_no_file():
    with pytest.raises(ZooError, match="/no/pairs.txt: cannot be read"):
        lfw.read_pairs("/no/pairs.txt", "/no", 2, "strict")


@pytest.mark.parametrize("num_same, num_different, folds", [(6, 6, 3), (7, 5, 4), (20, 5, 5), (4, 40, 4), (3, 3, 3)])
def test_one_official_fold_is_dealt_out(tmp_path, num_same, num_different, folds):
    """All same pairs first, as in one fold of the official file."""
    lines = ["1\t6"] + ["Ann\t1\t2"] * num_same + ["Ann\t1\tBob\t1"] * num_different
    found = lfw.read_pairs(make(tmp_path, "\n".join(lines), **PEOPLE), str(tmp_path), folds, "strict")
    assert "distributed evenly" in found.notices[-1]
    assert found.is_same.sum() == num_same and len(found.is_same) == num_same + num_different
    for pair, is_same in enumerate(found.is_same):
        assert ("Ann" in os.path.basename(found.paths[2 * pair + 1])) == is_same
    counts = [found.is_same[fold].sum() for fold in lfw.fold_slices(found.is_same, folds)]
    assert max(counts) - min(counts) <= 1


def test_the_official_pairs(shared_data):
    """10 folds of 300 + 300; their order is kept."""
    path = shared_data("lfw/pairs.txt")
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()[1:]
    is_same = np.array([len(line.split("\t")) == 3 for line in lines])
    assert all(lfw._stems(line.split("\t")) for line in lines) and len(lines) == 6000
    for fold in lfw.fold_slices(is_same, 10):
        assert is_same[fold].sum() == 300


def test_csv_round_trip(tmp_path):
    found = lfw.read_pairs(make(tmp_path, LINES, **PEOPLE), str(tmp_path), 2, "strict")
    distances = np.array([0.1, 1 / 3, 2.0, 1e-17])
    (tmp_path / "p.csv").write_text(thresholds.to_csv(found, distances), encoding="utf-8")
    paths, is_same, read = thresholds.from_csv(str(tmp_path / "p.csv"))
    assert paths == found.paths and is_same.tolist() == found.is_same.tolist() and read.tolist() == distances.tolist()


@pytest.mark.parametrize("change", [
    lambda text: "\ufeff" + text,  # of editors on Windows
    lambda text: text.replace("\n", "\r\n"),
    lambda text: text.replace("\n", "\t\n"),
    lambda text: text.replace("\t", " "),
    lambda text: text.rstrip("\n"),
])
def test_files_of_other_editors_are_the_same(tmp_path, change):
    wanted = lfw.read_pairs(make(tmp_path, LINES, **PEOPLE), str(tmp_path), 2, "strict")
    found = lfw.read_pairs(make(tmp_path, change(LINES)), str(tmp_path), 2, "strict")
    assert found.paths == wanted.paths and found.is_same.tolist() == wanted.is_same.tolist() and not found.notices


def test_the_first_pair_of_a_file_without_its_first_line_counts(tmp_path):
    """20 pairs, 10 of them same."""
    with open(os.path.join(ROOT, "tests", "cases", "pairs", "no_header.txt"), encoding="utf-8") as file:
        text = file.read()
    people = {name: [f"{name}_{number:04d}.jpg" for number in range(1, 6)]
              for name in (f"Person_{letter}" for letter in "ABCDEF")}
    found = lfw.read_pairs(make(tmp_path, text, **people), str(tmp_path), 10, "strict")
    assert (len(found.is_same), int(found.is_same.sum())) == (20, 10)
    assert [os.path.basename(path) for path in found.paths[:2]] == ["Person_D_0003.jpg", "Person_D_0001.jpg"]
    assert "the first line is a pair" in found.notices[0]


def test_pairs_are_counted(tmp_path):
    found = lfw.read_pairs(make(tmp_path, LINES.replace("2\t1", "10\t300"), **PEOPLE), str(tmp_path), 2, "strict")
    assert "pairs.txt: announces 6000 pairs and holds 4" in found.notices[0]


@pytest.mark.parametrize("separator", ["\t", " "])
def test_names_with_blanks(tmp_path, separator):
    lines = ["2 1", "Ann Lee 1 2", "Ann Lee 1 Bob 1", "Bob 1 2", "Bob 2 Ann Lee 2"]
    if separator == "\t":
        lines = [line.replace(" ", "\t").replace("Ann\tLee", "Ann Lee") for line in lines]
    people = {name: [f"{name}_0001.jpg", f"{name}_0002.jpg"] for name in ("Ann Lee", "Bob")}
    found = lfw.read_pairs(make(tmp_path, "\n".join(lines), **people), str(tmp_path), 2, "strict")
    assert [os.path.basename(path)[:-9] for path in found.paths] == ["Ann Lee"] * 3 + ["Bob"] * 4 + ["Ann Lee"]


def test_pairs_beside_the_data_when_lfw_is_elsewhere(tmp_path):
    make(tmp_path / "lfw", "", **PEOPLE)
    os.remove(str(tmp_path / "lfw" / "pairs.txt"))
    make(tmp_path / "data" / "dataset", LINES)
    flags = train_acc.define_flags().parse([f"--data_path={tmp_path / 'data'}", "--lfw_nrof_folds=2"])
    assert len(lfw.find_pairs(flags, str(tmp_path / "lfw")).is_same) == 4
