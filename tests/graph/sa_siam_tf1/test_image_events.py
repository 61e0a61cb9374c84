"""Pairs for TensorBoard, read back record by record."""
from __future__ import annotations

import io
import os

import numpy as np
from PIL import Image

from common.graph.compat import enable
from sa_siam_tf1.datasets.dataloader import Batch
from sa_siam_tf1.training import PairImages
from tests.results import events_in


def test_images_and_histograms(tmp_path):
    enable()
    pictures = np.arange(2 * 4 * 5 * 3, dtype=np.float32).reshape(2, 4, 5, 3)
    batch = Batch(pictures + 0.6, pictures + 1000)
    responses = np.array([[[-1.0, 1.0], [0.0, -1.0]]], np.float32)  # of the first pair
    for step in (3, 9):  # a resumed run keeps what is there
        images = PairImages(str(tmp_path))
        images.add("train", step, batch, responses)
        images.close()
    found = {(event.step, value.tag): value for event in events_in(tmp_path) for value in event.summary.value}
    assert set(found) == {(step, f"train/{tag}") for step in (3, 9) for tag in (
        "exemplar/0", "instance/0", "Response/0", "GT", "Response")}

    def drawn(tag):
        image = found[3, f"train/{tag}"].image
        pixels = np.asarray(Image.open(io.BytesIO(image.encoded_image_string)))
        assert pixels.shape == (image.height, image.width, 3)
        return pixels

    assert np.array_equal(drawn("exemplar/0"), pictures[0].astype(int))
    assert np.array_equal(drawn("instance/0"), np.full((4, 5, 3), 255))
    assert drawn("Response/0")[..., 0].tolist() == [[0, 255], [128, 0]]
    assert not drawn("GT").any()  # all cells are near the center of so small a map: it is flat
    histogram = found[3, "train/Response"].histo
    assert (histogram.min, histogram.max, histogram.num, histogram.sum, histogram.sum_squares) == (-1, 1, 4, -1, 3)
    assert sum(histogram.bucket) == 4 and histogram.bucket_limit[-1] == 1


def test_nothing_is_made_without_an_image(tmp_path):
    PairImages(str(tmp_path)).close()
    assert os.listdir(str(tmp_path)) == []
