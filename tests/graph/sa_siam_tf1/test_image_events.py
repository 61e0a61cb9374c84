"""Images and histograms for TensorBoard, read back record by record."""
from __future__ import annotations

import io
import os

import numpy as np
from PIL import Image

from common.graph.compat import enable
from sa_siam_tf1.image_events import ImageEvents
from tests.results import events_in


def test_images_and_histograms(tmp_path):
    enable()
    picture = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    events = ImageEvents(str(tmp_path))
    events.add_image(3, "colour", picture)
    events.add_image(3, "map", np.array([[-1.0, 1.0], [0.0, -1.0]]))
    events.add_image(3, "flat", np.zeros((2, 2)))
    events.add_histogram(4, "values", np.array([[0.0, 1.0], [1.0, 4.0]]))
    events.close()
    again = ImageEvents(str(tmp_path))  # a resumed run keeps what is there
    again.add_image(9, "colour", picture)
    again.close()
    found = {(event.step, value.tag): value for event in events_in(tmp_path) for value in event.summary.value}
    assert set(found) == {(3, "colour"), (3, "map"), (3, "flat"), (4, "values"), (9, "colour")}
    image = found[3, "colour"].image
    assert (image.height, image.width) == (4, 5)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(image.encoded_image_string))), picture)
    drawn = np.asarray(Image.open(io.BytesIO(found[3, "map"].image.encoded_image_string)))
    assert drawn[..., 0].tolist() == [[0, 255], [128, 0]]
    histogram = found[4, "values"].histo
    assert (histogram.min, histogram.max, histogram.num, histogram.sum, histogram.sum_squares) == (0, 4, 4, 6, 18)
    assert sum(histogram.bucket) == 4 and histogram.bucket_limit[-1] == 4


def test_nothing_is_made_without_an_image(tmp_path):
    ImageEvents(str(tmp_path)).close()
    assert os.listdir(str(tmp_path)) == []
