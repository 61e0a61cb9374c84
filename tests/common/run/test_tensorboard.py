"""Images and histograms for TensorBoard, read back record by record."""
from __future__ import annotations

import builtins
import io
import os

import numpy as np
import pytest
from PIL import Image

from common.run import tensorboard
from tests.common.run.test_metrics import read_event_file


def read(folder):
    found = {}
    for name in sorted(os.listdir(os.path.join(str(folder), tensorboard.FOLDER))):
        for event in read_event_file(os.path.join(str(folder), tensorboard.FOLDER, name)):
            found.update({(event.step, value.tag): value for value in event.summary.value})
    return found


def test_images_and_histograms(tmp_path):
    picture = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    events = tensorboard.ImageEvents(str(tmp_path))
    events.add_image(3, "colour", picture)
    events.add_image(3, "map", np.array([[-1.0, 1.0], [0.0, -1.0]]))
    events.add_image(3, "flat", np.zeros((2, 2)))
    events.add_histogram(4, "values", np.array([[0.0, 1.0], [1.0, 4.0]]))
    events.close()
    again = tensorboard.ImageEvents(str(tmp_path))  # a run that goes on keeps what is there
    again.add_image(9, "colour", picture)
    again.close()
    found = read(tmp_path)
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
    tensorboard.ImageEvents(str(tmp_path)).close()
    assert os.listdir(str(tmp_path)) == []


def test_without_tensorboard_there_is_one_warning(tmp_path, monkeypatch):
    known = builtins.__import__

    def missing(name, *arguments, **options):
        if name.startswith("tensorboard"):
            raise ImportError(f"No module named {name!r}")
        return known(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    warnings = []
    events = tensorboard.ImageEvents(str(tmp_path), warnings.append)
    for step in range(2):
        events.add_image(step, "map", np.eye(2))
    events.close()
    assert len(warnings) == 1 and "pip install tensorboard" in warnings[0]


@pytest.fixture(autouse=True)
def _tensorboard():
    pytest.importorskip("tensorboard")
