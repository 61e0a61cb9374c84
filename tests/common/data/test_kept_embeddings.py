"""Embeddings are computed once per file and version of it; an index that is damaged or stale is never trusted."""
from __future__ import annotations

import os

import numpy as np
import pytest

from common.data.kept_embeddings import KeptEmbeddings, state_of


class Computer:
    """Embeds a file as its length and first byte, and remembers what it was asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self, paths):
        self.asked.append([os.path.basename(path) for path in paths])
        contents = []
        for path in paths:
            with open(path, "rb") as file:
                contents.append(file.read())
        return np.array([[len(content), content[0]] for content in contents], np.float32)


@pytest.fixture
def files(tmp_path):
    paths = []
    for name in ("a", "bb", "ccc", "Zoë"):
        (tmp_path / name).write_text(name)
        paths.append(str(tmp_path / name))
    return paths


def wanted(*names):
    return [[len(name.encode()), name.encode()[0]] for name in names]


def test_an_index_is_used_again_and_grows(tmp_path, files, capsys):
    path, compute = str(tmp_path / "deep" / "index.npz"), Computer()
    assert KeptEmbeddings(path, "weights").embed(files[:2], compute).tolist() == wanted("a", "bb")
    index = KeptEmbeddings(path, "weights")
    assert index.missing([*files, files[3]]) == files[2:]
    assert index.embed([*files, files[0]], compute).tolist() == wanted("a", "bb", "ccc", "Zoë", "a")
    assert index.missing(files) == []
    assert index.num_computed == 2 and compute.asked == [["a", "bb"], ["ccc", "Zoë"]]
    assert index.embed(files[::-1], compute).tolist() == wanted("Zoë", "ccc", "bb", "a")
    assert (index.num_computed, len(compute.asked), capsys.readouterr().err) == (0, 2, "")


def test_a_file_that_changes_is_computed_again(tmp_path, files):
    path, compute = str(tmp_path / "index.npz"), Computer()
    KeptEmbeddings(path, "weights").embed(files, compute)
    (tmp_path / "bb").write_text("longer")
    os.utime(files[0], ns=(0, 0))  # as if another file had taken its place
    assert KeptEmbeddings(path, "weights").embed(files, compute).tolist() == wanted("a", "longer", "ccc", "Zoë")
    assert compute.asked[1] == ["a", "bb"]


def test_the_index_of_another_checkpoint_is_computed_anew_with_a_notice(tmp_path, files, capsys):
    path, compute = str(tmp_path / "index.npz"), Computer()
    KeptEmbeddings(path, "weights").embed(files, lambda paths: compute(paths) * 0)
    assert KeptEmbeddings(path, "other weights").embed(files, compute).tolist() == wanted("a", "bb", "ccc", "Zoë")
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"Notice: {path}: is of another checkpoint" in error


def test_a_damaged_index_is_computed_anew_with_a_notice(tmp_path, files, capsys):
    """Every byte is changed once, and the file is cut at many places."""
    path, compute = str(tmp_path / "index.npz"), Computer()
    KeptEmbeddings(path, "weights").embed(files, compute)
    with open(path, "rb") as file:
        intact = file.read()
    damaged = [intact[:place] + bytes([intact[place] ^ 0x55]) + intact[place + 1:] for place in range(len(intact))]
    damaged += [intact[:length] for length in range(0, len(intact), 37)] + [b"PK\3\4 no archive", b"\x93NUMPY", b"{}"]
    noticed = 0
    for content in damaged:
        with open(path, "wb") as file:
            file.write(content)
        assert KeptEmbeddings(path, "weights").embed(files, compute).tolist() == wanted("a", "bb", "ccc", "Zoë")
        noticed += "Notice: " in capsys.readouterr().err
    assert noticed > 0.8 * len(damaged)  # some bytes, as those of a time, mean nothing


@pytest.mark.parametrize("arrays", [
    dict(keys=np.array(["a"], object)), dict(embeddings=np.zeros((3, 2), np.float32)), dict(embeddings=np.zeros(4)),
    dict(embeddings=np.array([object()] * 4)), dict(fingerprint=np.array([{}])),
])
def test_pickles_and_arrays_that_do_not_fit_are_refused(tmp_path, files, capsys, arrays):
    path, compute = str(tmp_path / "index.npz"), Computer()
    KeptEmbeddings(path, "weights").embed(files, compute)
    with np.load(path, allow_pickle=False) as kept:
        np.savez(path, **{**kept, **arrays})
    assert KeptEmbeddings(path, "weights").embed(files, compute).tolist() == wanted("a", "bb", "ccc", "Zoë")
    assert "is damaged" in capsys.readouterr().err and len(compute.asked) == 2


def test_the_state_of_files_depends_on_names_order_and_content(tmp_path, files):
    states = {state_of(files), state_of(files[::-1]), state_of(files[1:])}
    (tmp_path / "a").write_text("aa")
    assert len(states | {state_of(files)}) == 4
    assert state_of(files) == state_of(list(files))
