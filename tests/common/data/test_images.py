"""Untrusted images are decoded to gray or RGB, or refused in one line."""
from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from common.data import images
from common.errors import ZooError


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
    assert np.abs(images.read_gray(str(tmp_path / "deep.png"), 28) - wanted).max() <= 1


def test_an_absurdly_large_image_is_refused_by_its_size(tmp_path, monkeypatch):
    path = str(tmp_path / "0001.png")
    Image.fromarray(np.zeros((12, 16, 3), np.uint8)).save(path)
    monkeypatch.setattr(images, "MAX_PIXELS", 16 * 12)
    assert images.read_rgb(path).shape == (12, 16, 3) and images.read_gray(path, 4).shape == (4, 4)
    monkeypatch.setattr(images, "MAX_PIXELS", 16 * 12 - 1)
    for read in (images.read_rgb, lambda path: images.read_gray(path, 4)):
        with pytest.raises(ZooError, match="0001.png: .*it has 16 x 12 pixels, at most 191 are decoded"):
            read(path)
