"""Images that a search leaves out are reported once and counted at the end."""
from __future__ import annotations

import pytest

from common.data.left_out import LeftOut
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
