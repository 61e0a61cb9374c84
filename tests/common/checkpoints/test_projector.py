"""TensorBoard's projector reads what is written."""
from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from common.checkpoints import projector
from common.checkpoints.projector import SIDE
from common.checkpoints.trained import Checkpoint


def write(folder, embeddings, image_of=lambda index: np.zeros((4, 4), np.uint8)):
    columns = dict(name=[f"name {index}" for index in range(len(embeddings))], image=["a\tb.png"] * len(embeddings))
    checkpoint = Checkpoint("/m/model.ckpt-7", None, str(folder))
    projector.write(checkpoint, embeddings, columns, image_of)
    assert checkpoint.names == [projector.PROJECTOR]
    return folder / projector.PROJECTOR


def test_points_labels_and_pictures(tmp_path):
    messages = pytest.importorskip("tensorboard.plugins.projector.projector_config_pb2")
    from google.protobuf import text_format

    embeddings = np.random.RandomState(0).normal(size=(5, 3)).astype(np.float32)
    folder = write(tmp_path, embeddings, lambda index: np.full((96, 48, 3), 50 * index, np.uint8))
    config = text_format.Parse((folder / "projector_config.pbtxt").read_text(), messages.ProjectorConfig())
    (found,) = config.embeddings
    assert list(found.tensor_shape) == [5, 3] and list(found.sprite.single_image_dim) == [SIDE, SIDE]
    np.testing.assert_allclose(np.loadtxt(str(folder / found.tensor_path), delimiter="\t"), embeddings, rtol=1e-5)
    assert (folder / found.metadata_path).read_text().splitlines() == ["name\timage"] + [
        f"name {index}\ta b.png" for index in range(5)]
    with Image.open(str(folder / found.sprite.image_path)) as sprite:
        pixels = np.asarray(sprite)
    assert pixels.shape == (3 * SIDE, 3 * SIDE, 3)  # 5 pictures of 3 x 3, row by row
    for index in range(5):
        top, left = index // 3 * SIDE, index % 3 * SIDE
        assert pixels[top + 40, left + 10].tolist() == [50 * index] * 3  # half as wide as high
        assert pixels[top + 40, left + 40].tolist() == [255] * 3


@pytest.mark.parametrize("num, dim, kept", [(1, 2, 1), (9, 2, 5), (5, 2, 5), (4, 20, 2)])
def test_points_are_thinned_out_evenly(tmp_path, monkeypatch, num, dim, kept):
    monkeypatch.setattr(projector, "MAX_POINTS", 5)
    monkeypatch.setattr(projector, "MAX_NUMBERS", 40)
    folder = write(tmp_path, np.arange(num * dim, dtype=np.float32).reshape(num, dim))
    first = [float(line.split("\t")[0]) for line in (folder / "tensors.tsv").read_text().splitlines() if line]
    assert len(first) == kept and first == [dim * index for index in range(0, num, -(-num // kept))]
