"""Contact sheets hold the images they were given, whatever their shapes and names."""
from __future__ import annotations

import numpy as np
from PIL import Image

from common.plots import image_grid
from common.plots.image_grid import GAP, SIDE, TEXT_HEIGHT, Cell


def test_images_are_where_they_should_be(tmp_path):
    red = np.zeros((50, 100, 3), np.uint8)
    red[..., 0] = 255
    gray = np.full((300, 30), 128, np.uint8)
    path = str(tmp_path / "sheet.png")
    image_grid.draw(path, "title", [[Cell(red, "wide"), Cell(gray, "tall")], [Cell(gray, "数据 " * 30)]])
    with Image.open(path) as opened:
        sheet = np.asarray(opened)
    top = TEXT_HEIGHT + GAP + TEXT_HEIGHT
    assert sheet.shape == (TEXT_HEIGHT + GAP + 2 * (SIDE + TEXT_HEIGHT + GAP), 2 * (SIDE + GAP) + GAP, 3)
    assert sheet[top + 10, GAP + 50].tolist() == [255, 0, 0]  # as wide as a cell, half as high
    assert sheet[top + SIDE // 2 + 10, GAP + 50].tolist() == [255, 255, 255]
    assert sheet[top + 50, SIDE + 2 * GAP + 3].tolist() == [128, 128, 128]
    assert sheet[top + 50, SIDE + 2 * GAP + 60].tolist() == [255, 255, 255]
    second = top + SIDE + GAP + TEXT_HEIGHT
    assert sheet[second + 50, GAP + 3].tolist() == [128, 128, 128]
