"""Images are found in folders, and those that a search leaves out are reported once and counted at the end."""
from __future__ import annotations

import os

import pytest

from common.data import image_search
from common.data.image_search import LeftOut
from common.errors import ZooError


def test_nothing_is_left_out(capsys):
    left_out = LeftOut([])
    assert left_out.rest_of(["a", "b"]) == ["a", "b"]
    left_out.require_none(2)
    assert capsys.readouterr().err == ""


def test_each_image_is_reported_once(capsys):
    left_out = LeftOut(["query"])
    for _ in range(2):
        left_out.add("b", "b: is empty")
    assert capsys.readouterr().err == "Warning: b: is empty; left out\n"
    assert left_out.rest_of(["a", "b"]) == ["a"] and left_out.reasons == {"b": "b: is empty"}
    with pytest.raises(ZooError, match="^1 of 2 images were left out"):
        left_out.require_none(2)
    with pytest.raises(ZooError, match="^none of 1 images can be read"):
        left_out.rest_of(["b"])


def test_an_image_that_was_named_is_an_error():
    with pytest.raises(ZooError, match="^query: is empty$"):
        LeftOut(["query"]).add("query", "query: is empty")


def test_a_folder_is_searched_recursively_without_what_systems_leave(tmp_path):
    for name in ("b/10.png", "b/9.png", "a/c/1.jpg", "top.png", ".hidden/2.png", "a/notes.txt", "__MACOSX/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    found = [os.path.relpath(path, str(tmp_path)) for path in image_search.find_images([str(tmp_path)])]
    assert found == ["top.png", "a/c/1.jpg", "b/9.png", "b/10.png"]
    (tmp_path / "empty" / "more").mkdir(parents=True)
    with pytest.raises(ZooError, match="contains no image .*, nor do the folders in it"):
        image_search.find_images([str(tmp_path / "a"), str(tmp_path / "empty")])


def test_files_and_folders_are_searched_once_and_the_query_is_left_out(tmp_path):
    for name in ("a/1.png", "a/2.png", "b/3.png", "top.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "b" / "link.png").symlink_to(tmp_path / "a" / "2.png")
    top, one, two, three, link = (str(tmp_path / name) for name in ("top.png", "a/1.png", "a/2.png", "b/3.png",
                                                                    "b/link.png"))
    folders = [str(tmp_path / "b"), str(tmp_path / "a")]
    found = image_search.find_images([two, *folders, top, top])
    assert found == [two, three, link, one, top]
    assert image_search.indices_besides(one, found, folders) == [0, 1, 2, 4]
    assert image_search.indices_besides(two, found, folders) == [1, 3, 4]  # nor under another name
    assert image_search.indices_besides(two, found, [two, *folders]) == [0, 1, 3, 4]  # it was asked for
    with pytest.raises(ZooError, match="a: holds no image besides the query"):
        image_search.indices_besides(one, [one], folders)
