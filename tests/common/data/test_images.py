"""Untrusted images are decoded to gray or RGB, or refused in one line."""
from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from common.data import image_search, images
from common.errors import ZooError
from tests import ROOT, odd_images

CASES = os.path.join(ROOT, "tests", "cases")
DIGITS = os.path.join(CASES, "alpha_digits")


def test_images_of_other_kinds_become_rgb(tmp_path):
    ramp = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(ramp).save(str(tmp_path / "gray.png"))
    Image.fromarray(ramp.astype(np.uint16) * 257).save(str(tmp_path / "deep.png"))
    Image.fromarray(ramp).convert("RGBA").save(str(tmp_path / "alpha.png"))
    for name in ("gray.png", "deep.png", "alpha.png"):
        assert np.array_equal(images.read_rgb(str(tmp_path / name)), np.repeat(ramp[..., None], 3, axis=2)), name
    Image.fromarray(ramp[:4]).save(str(tmp_path / "tiny.png"))
    with pytest.raises(ZooError, match="has 8 x 4 pixels"):
        images.read_rgb(str(tmp_path / "tiny.png"))


def test_gray_of_16_bits_is_scaled(tmp_path):
    values = np.arange(784).reshape(28, 28) * 83
    Image.fromarray(values.astype(np.uint16)).save(str(tmp_path / "deep.png"))
    wanted = np.round(values / 257.0)
    assert np.abs(image_search.read_gray(str(tmp_path / "deep.png"), 28) - wanted).max() <= 1


def test_an_absurdly_large_image_is_refused_by_its_size(tmp_path, monkeypatch):
    path = str(tmp_path / "0001.png")
    Image.fromarray(np.zeros((12, 16, 3), np.uint8)).save(path)
    monkeypatch.setattr(images, "MAX_PIXELS", 16 * 12)
    assert images.read_rgb(path).shape == (12, 16, 3) and image_search.read_gray(path, 4).shape == (4, 4)
    monkeypatch.setattr(images, "MAX_PIXELS", 16 * 12 - 1)
    for read in (images.read_rgb, lambda path: image_search.read_gray(path, 4)):
        with pytest.raises(ZooError, match="0001.png: .*it has 16 x 12 pixels, at most 191 are decoded"):
            read(path)


@pytest.mark.parametrize("kind", odd_images.KINDS)
def test_the_rule_for_pixels(tmp_path, kind):
    found = images.read_rgb(odd_images.make(str(tmp_path), kind))
    assert found.shape == odd_images.shown(kind).shape
    assert np.abs(found.astype(int) - odd_images.shown(kind)).mean() < odd_images.TOLERANCE


def test_without_orientation_pixels_are_as_stored(tmp_path):
    path = odd_images.make(str(tmp_path), "orientation_6")
    stored = np.asarray(Image.open(path).convert("RGB"))
    assert np.array_equal(images.read_rgb(path, upright=False), stored) and stored.shape == (64, 48, 3)
    (notice,) = images.orientation_notices(lambda number: path, 1000, "turn them")
    assert notice.startswith("Notice: 200 of 200 checked images have an EXIF orientation") and path in notice
    plain = odd_images.make(str(tmp_path), "orientation_1")
    assert images.orientation_notices([plain, plain].__getitem__, 2, "") == []


def test_transparent_pixels_show_the_background(tmp_path):
    path = odd_images.make(str(tmp_path), "alpha")
    white, black = (images.read_rgb(path, background=name) for name in ("white", "black"))
    assert (white[40, 60] == 255).all() and (black[40, 60] == 0).all() and np.array_equal(white[10, 10], black[10, 10])


def test_a_phone_s_picture_is_as_a_viewer_shows_it():
    upright, stored = (images.read_rgb(os.path.join(CASES, "exif", name)).astype(int)
                       for name in ("upright.png", "stored_no_tag.jpg"))
    found = images.read_rgb(os.path.join(CASES, "exif", "phone.jpg"))
    assert np.abs(found - upright).mean() < 3 < np.abs(found - stored).mean()


@pytest.mark.parametrize("digit", ["0", "1"])
def test_digits_drawn_in_a_browser(digit):
    """a: white on black, b: black on transparent, c: white on transparent, d: black on white."""
    def read(kind, background="white"):
        (name,) = (name for name in os.listdir(DIGITS) if name.startswith(f"{digit}_{kind}"))
        return image_search.read_gray(os.path.join(DIGITS, name), 28, background)

    assert np.array_equal(read("b"), read("d")) and np.array_equal(read("c", "black"), read("a"))
    assert read("d").min() < 100 and read("d").max() == 255
    assert image_search.one_color_notices(["c.png", "d.png"], [read("c"), read("d")]) == [
        "Warning: c.png: all pixels are 255; if the image is transparent, set its background with "
        "--background=black or white"]


@pytest.mark.parametrize("kind", [kind for kind in odd_images.OTHER_FORMATS if kind != "BMP"])
def test_another_format_is_named(tmp_path, kind):
    with pytest.raises(ZooError, match=f"{kind}.jpg: not a readable image: it is {kind}, expected PNG, JPEG"):
        images.read_rgb(odd_images.make_other(str(tmp_path), kind))


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe1\0", b"\xff\xd8\xff\xe1\0\x20Exif\0\0MM\0*\xff\xff\xff\xff",
                                     b"\x89PNG\r\n\x1a\n\xff\xff\xff\xffeXIfII*\0", b"\xff\xd8" + b"\xff\xe0\0\0" * 9])
def test_headers_that_are_cut_or_false_name_no_orientation(content):
    assert images.orientation_of(content) == 1


def test_thumbnails_are_small_upright_and_keep_their_shape(tmp_path):
    Image.new("RGB", (800, 200), (255, 0, 0)).save(str(tmp_path / "wide.png"))
    Image.new("RGB", (30, 20), (0, 0, 255)).save(str(tmp_path / "small.png"))
    assert image_search.thumbnail(str(tmp_path / "wide.png")).shape == (40, 160, 3)
    assert image_search.thumbnail(str(tmp_path / "small.png"))[5, 5].tolist() == [0, 0, 255]
