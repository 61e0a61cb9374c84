"""Images from files: the recorded arithmetic, odd formats, and what is refused."""
from __future__ import annotations

import io
import os
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from common.errors import ZooError
from siamese_triplet_tf2 import bad_images, features, pairs
from siamese_triplet_tf2.features import Decoding
from tests import odd_images


def photo(height=60, width=80):
    grid = np.random.RandomState(0).randint(0, 256, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(grid).resize((width, height), 2)


def save(tmp_path, name, image, **options):
    path = str(tmp_path / name)
    image.save(path, **options)
    return path


def test_preprocessing_of_the_original_and_the_corrected_scale():
    """Recorded: white (-102.94, -115.78, -122.68), black (-103.94, -116.78, -123.68); with 255 they differ by 255."""
    images = tf.constant(np.stack([np.ones((1, 1, 3)), np.zeros((1, 1, 3))]), tf.float32)
    unit = features.preprocess(images, "unit").numpy().reshape(2, 3)
    np.testing.assert_allclose(unit, [[-102.939, -115.779, -122.68], [-103.939, -116.779, -123.68]], atol=1e-4)
    full = features.preprocess(images, "255").numpy().reshape(2, 3)
    np.testing.assert_allclose(full[0] - full[1], 255.0, atol=1e-4)
    red = tf.constant([[[[1.0, 0.0, 0.0]]]])
    assert features.preprocess(red, "255").numpy().ravel().argmax() == 2  # BGR: red comes last


def test_resizing_is_bilinear_without_antialias_and_keeps_no_aspect(tmp_path):
    path = save(tmp_path, "a.png", photo())
    found = features.decode(path, Decoding(accurate=False)).numpy()
    pixels = np.asarray(photo(), np.float64) / 255.0
    for row, column in ((0, 0), (57, 131), (100, 7), (199, 199)):
        y, x = (row + 0.5) * 60 / 200 - 0.5, (column + 0.5) * 80 / 200 - 0.5
        y, x = np.clip(y, 0, 59), np.clip(x, 0, 79)
        top, left = int(y), int(x)
        bottom, right = min(top + 1, 59), min(left + 1, 79)
        v, u = y - top, x - left
        wanted = ((1 - v) * ((1 - u) * pixels[top, left] + u * pixels[top, right])
                  + v * ((1 - u) * pixels[bottom, left] + u * pixels[bottom, right]))
        np.testing.assert_allclose(found[row, column], wanted, atol=1e-5)


def test_accurate_decoding_is_that_of_libjpeg_s_slow_dct(tmp_path):
    """PIL decodes with the accurate DCT; the fast one differs from it by more."""
    path = save(tmp_path, "a.jpg", photo(200, 200), quality=70, subsampling=0)
    wanted = np.asarray(Image.open(path), np.float64) / 255.0
    accurate, fast = (np.abs(features.decode(path, Decoding(mode)).numpy() - wanted).max() for mode in (True, False))
    assert accurate <= 1.01 / 255
    assert fast > accurate


@pytest.mark.parametrize("kind", odd_images.KINDS)
def test_the_rule_for_pixels_holds(tmp_path, kind):
    path = odd_images.make(str(tmp_path), kind)
    assert bad_images.find([path]) == {}
    wanted = tf.image.resize(odd_images.shown(kind) / np.float32(255.0), (200, 200)).numpy()
    found = features.decode(path, Decoding(accurate=True, upright=True)).numpy()
    assert np.abs(found - wanted).mean() < odd_images.TOLERANCE / 255


@pytest.mark.parametrize("background, value", [("white", 1.0), ("black", 0.0)])
def test_transparent_pixels_show_the_background(tmp_path, background, value):
    path = odd_images.make(str(tmp_path), "alpha")
    found = features.decode(path, Decoding(accurate=True, background=background)).numpy()
    np.testing.assert_allclose(found[150:, 150:], value)


@pytest.mark.parametrize("kind", odd_images.OTHER_FORMATS)
def test_another_format_under_jpg_is_named(tmp_path, kind):
    path = odd_images.make_other(str(tmp_path), kind)
    assert bad_images.find([path]) == {path: f"is {kind}, expected JPEG or PNG"}


def odd_kinds(tmp_path):
    """Files that can be used, by what is odd about them."""
    gray = photo().convert("L")
    sixteen = Image.fromarray(np.asarray(gray, np.uint16) * 257)
    return dict(gray=save(tmp_path, "gray.jpg", gray), cmyk=save(tmp_path, "cmyk.jpg", photo().convert("CMYK")),
                alpha=save(tmp_path, "alpha.png", photo().convert("RGBA")),
                palette=save(tmp_path, "palette.png", photo().quantize(8)),
                sixteen=save(tmp_path, "sixteen.png", sixteen),
                animated=save(tmp_path, "animated.png", photo(), save_all=True, append_images=[photo().rotate(90)]),
                progressive=save(tmp_path, "progressive.jpg", photo(), progressive=True),
                png_named_jpg=save(tmp_path, "named.jpg", photo(), format="PNG"))


def test_odd_formats_are_decoded(tmp_path):
    paths = odd_kinds(tmp_path)
    assert bad_images.find(list(paths.values())) == {}
    for kind, path in paths.items():
        image = features.decode(path, Decoding(accurate=True)).numpy()
        assert image.shape == (200, 200, 3) and image.min() >= 0.0 and image.max() <= 1.0, kind
        if kind in ("gray", "sixteen"):
            assert np.array_equal(image[..., 0], image[..., 2]), kind
    sixteen, gray = (features.decode(paths[kind], Decoding(True)).numpy() for kind in ("sixteen", "gray"))
    assert np.abs(sixteen - gray).mean() < 0.02


def huge_png(width, height):
    """A PNG that is small as a file."""
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    row = b"\0" + b"\0" * ((width + 7) // 8)
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(row * height)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def bad_files():
    whole = io.BytesIO()
    photo().save(whole, "JPEG")
    webp = io.BytesIO()
    photo().save(webp, "WEBP")
    gif = io.BytesIO()
    photo().save(gif, "GIF")
    return {
        "empty.jpg": (b"", "is empty"),
        "text.jpg": (b"this is no image", "has an unknown format, expected JPEG or PNG"),
        "cut.jpg": (whole.getvalue()[:len(whole.getvalue()) // 2], "cannot be decoded"),
        "gif.jpg": (gif.getvalue(), "is GIF, expected JPEG or PNG"),
        "webp.jpg": (webp.getvalue(), "is WebP, expected JPEG or PNG"),
        "huge.png": (huge_png(9000, 9000), "is 9000 x 9000"),
    }


def test_what_cannot_be_used_is_named_with_its_reason(tmp_path):
    files = bad_files()
    paths = [str(tmp_path / name) for name in files]
    for path, (content, _) in zip(paths, files.values()):
        with open(path, "wb") as file:
            file.write(content)
    good = save(tmp_path, "good.jpg", photo())
    gone = str(tmp_path / "gone.jpg")
    found = bad_images.find([*paths, good, gone])
    assert set(found) == {*paths, gone} and found[gone] == "cannot be read (No such file or directory)"
    for path, (_, reason) in zip(paths, files.values()):
        assert reason in found[path] and "\n" not in found[path], found[path]


def test_too_many_bytes(tmp_path, monkeypatch):
    path = save(tmp_path, "a.jpg", photo())
    monkeypatch.setattr(bad_images, "MAX_BYTES", 100)
    assert f"has {os.path.getsize(path)} bytes" in bad_images.find([path])[path]


def some_pairs(tmp_path, num):
    for side in ("left", "right"):
        (tmp_path / side).mkdir()
        for number in range(num):
            save(tmp_path / side, f"{number}.jpg", photo())
    return str(tmp_path)


def test_policies_for_bad_images(tmp_path):
    folder = some_pairs(tmp_path, 4)
    (tmp_path / "left" / "1.jpg").write_bytes(b"")
    (tmp_path / "right" / "3.jpg").write_bytes(b"text")
    data = pairs.load(folder)
    with pytest.raises(ZooError, match=r"2 of 8 images cannot be used: \S+left/1.jpg is empty; "
                                       r"\S+right/3.jpg has an unknown .*--bad_images=skip"):
        bad_images.apply(data, "fail")
    kept = bad_images.apply(data, "skip")
    assert [os.path.basename(path) for path in kept.left] == ["0.jpg", "2.jpg"]
    assert [os.path.basename(path) for path in kept.right] == ["0.jpg", "2.jpg"]
    assert "2 pairs left out, 2 images" in kept.notices[-1] and "right/3.jpg" in kept.notices[-1]
    (tmp_path / "right" / "0.jpg").write_bytes(b"")
    with pytest.raises(ZooError, match="1 pairs are left"):
        bad_images.apply(pairs.load(folder), "skip")


def test_good_images_pass(tmp_path):
    data = pairs.load(some_pairs(tmp_path, 2))
    assert bad_images.apply(data, "fail") is data
