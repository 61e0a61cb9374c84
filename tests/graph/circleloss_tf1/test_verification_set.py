"""Verification sets of insightface: images and pairs, without executing what a file asks for."""
from __future__ import annotations

import io
import json
import os
import pickle

import numpy as np
import pytest
from PIL import Image

from circleloss_tf1 import evaluate, verification_set
from common.errors import ZooError
from tests.graph.circleloss_tf1.conftest import train


def picture(number, kind="JPEG"):
    content = io.BytesIO()
    noise = np.random.RandomState(number).randint(0, 256, (16, 16, 3)).astype(np.uint8)
    Image.fromarray(noise).save(content, kind)
    return content.getvalue()


def contents(num):
    return [picture(number) for number in range(2 * num)]


IS_SAME = [True, False, True, False]


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("kind", ["bytes", "arrays"])
def test_sets_as_they_are_made(tmp_path, protocol, kind):
    images = contents(4)
    stored = [np.frombuffer(image, np.uint8) for image in images] if kind == "arrays" else images
    (tmp_path / "lfw.bin").write_bytes(pickle.dumps((stored, IS_SAME), protocol))
    found, is_same = verification_set.read(str(tmp_path / "lfw.bin"))
    assert found == images and is_same.tolist() == IS_SAME


def test_sets_of_python_2(tmp_path):
    """Its strings are bytes: BINSTRING and SHORT_BINSTRING."""
    images = contents(1)
    words = b"".join(b"T" + len(image).to_bytes(4, "little") + image for image in images)
    (tmp_path / "lfw.bin").write_bytes(b"\x80\x02](" + words + b"e](\x88e\x86.")
    found, is_same = verification_set.read(str(tmp_path / "lfw.bin"))
    assert found == images and is_same.tolist() == [True]


class Malicious:
    def __reduce__(self):
        return os.system, ("touch executed-by-a-pickle",)


@pytest.mark.parametrize("content, message", [
    (pickle.dumps(([Malicious()] * 2, [True])), "not a readable pickle of plain data"),
    (pickle.dumps((contents(1), [True, False])), "is not a verification set"),
    (pickle.dumps((contents(1), [])), "is not a verification set"),
    (pickle.dumps({"a": 1}), "is not a verification set"),
    (pickle.dumps(([picture(0), b"RIFF1234WEBP"], [True])), "image 1 is WebP, expected JPEG or PNG"),
    (pickle.dumps((contents(1), ["yes"])), "expected True or False"),
    (b"", "not a readable pickle of plain data"),
    (np.zeros(64, "<f4").tobytes(), "not a readable pickle of plain data"),
])
def test_other_files_are_refused(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.bin").write_bytes(content)
    with pytest.raises(ZooError, match=message):
        verification_set.read(str(tmp_path / "bad.bin"))
    assert os.listdir(str(tmp_path)) == ["bad.bin"]


def test_evaluate_takes_a_set(tmp_path, tiny_faces_folder, one_block):
    """No data folder is needed."""
    (tmp_path / "agedb_30.bin").write_bytes(pickle.dumps((contents(8), IS_SAME * 2)))
    assert train(tiny_faces_folder, tmp_path, "--train_steps=1", "--epoch_size=1", "--image_size=32",
                 "--extra_options", "--performance") == 0
    assert evaluate.main([f"--checkpoint={tmp_path / '0'}", f"--lfw_pairs={tmp_path / 'agedb_30.bin'}", "--device=cpu",
                          "--lfw_nrof_folds=2", "--lfw_batch_size=4"]) == 0
    result = json.loads((tmp_path / "0" / "evaluate" / "evaluation.json").read_text())
    assert result["pairs"] == 8
    assert len(os.listdir(str(tmp_path / "0" / "evaluate" / "agedb_30"))) == 16
