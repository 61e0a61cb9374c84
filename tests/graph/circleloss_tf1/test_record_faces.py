"""Training sets of insightface: the format, what is refused, and training on them."""
from __future__ import annotations

import io
import os
import random
import struct

import numpy as np
import pytest
from PIL import Image

from circleloss_tf1 import faces, record_faces
from common.errors import ZooError
from tests.conftest import on_the_default_leg
from tests.graph.circleloss_tf1 import records
from tests.graph.circleloss_tf1.conftest import train
from tests.programs import error_line, run_python, tree
from tests.results import losses


def picture(seed, image_format="JPEG"):
    content = io.BytesIO()
    pixels = np.random.RandomState(seed).randint(0, 256, (6, 6, 3)).astype(np.uint8)
    Image.fromarray(pixels).resize((48, 48), 2).save(content, image_format, quality=95)
    return content.getvalue()


PEOPLE = [[picture(10 * person + number) for number in range(6)] for person in range(4)]


@pytest.mark.parametrize("content", [
    b"", b"abc", b"abcd", records.MAGIC, b"abcd" + records.MAGIC + b"xy", records.MAGIC * 3 + b"1",
    b"x" + records.MAGIC, bytes(range(256)) * 20])
def test_records_of_any_content(tmp_path, content):
    """The magic number within the content splits a record where it is aligned."""
    folder = records.write(tmp_path, [records.image_record(labels, content) for labels in (7.5, [1.0, 2.0, 3.0])])
    offsets = record_faces.read_index(os.path.join(folder, "train.idx"))
    with open(os.path.join(folder, "train.rec"), "rb") as file:
        one, other = (record_faces.read_record(file, offset) for offset in offsets)
    assert (one.labels.tolist(), one.image) == ([7.5], content)
    assert (other.labels.tolist(), other.image) == ([1.0, 2.0, 3.0], content)


def test_people_of_a_set(tmp_path):
    order = list(range(29))
    random.Random(0).shuffle(order)
    found = faces.scan(records.insightface(tmp_path, PEOPLE, index_order=order))
    assert found.labels.tolist() == [0] * 6 + [1] * 6 + [2] * 6 + [3] * 6 and found.fingerprint[:2] == [24, 4]
    assert [found.read(found.path(index)) for index in range(24)] == sum(PEOPLE, []) and found.notices == []


def test_a_set_without_records_of_people(tmp_path):
    """Every image names its person; they need not be together."""
    found = faces.scan(records.write(tmp_path, [
        records.image_record(label, b"%d" % number) for number, label in enumerate([5.0, 2.0, [5.0, 9.0], 2.0])]))
    assert found.labels.tolist() == [0, 0, 1, 1]
    assert [found.read(found.path(index)) for index in range(4)] == [b"1", b"3", b"0", b"2"]
    assert "property: cannot be read" in found.notices[0]


def test_property_is_compared(tmp_path):
    folder = records.insightface(tmp_path, PEOPLE)
    (tmp_path / "property").write_text("85742,112,112")
    assert "says '85742' people, but the records are of 4" in faces.scan(folder).notices[0]


def spoiled_index(text):
    return lambda folder: (folder / "train.idx").write_text(text)


@pytest.mark.parametrize("spoil, message", [
    (lambda folder: (folder / "train.idx").unlink(), "train.idx: missing; it says where the records"),
    (spoiled_index(""), "has 0 records"),
    (spoiled_index("0\t0\n1\n"), "train.idx: is damaged"),
    (spoiled_index("0\t0\n1\tx\n"), "train.idx: is damaged"),
    (spoiled_index("0\t0\n1\t" + "9" * 30 + "\n"), "do not belong together"),
    (spoiled_index("0\t" + "9" * 5000), "do not belong together"),
    (spoiled_index("0\t0\n2\t8\n"), "its keys are not 0 to 1"),
    (spoiled_index("0\t0\n1\t-8\n"), "do not belong together"),
    (spoiled_index("0\t0\n1\t99999999\n"), "do not belong together"),
    (spoiled_index("0\t4\n1\t8\n"), "expected the magic number of MXNet's records"),
    (lambda folder: records.write(folder, [records.image_record([2.0, 9.0])] * 2), "announces people from 2 to 9"),
    (lambda folder: records.write(folder, [records.image_record([float("nan"), 2.0])] * 2), "announces people from 0"),
    (lambda folder: records.write(folder, [records.image_record([3.0, 5.0]), *[records.image_record(0.0, b"x")] * 2,
                                           *[records.image_record([1.0, 3.0])] * 2]), "each of one person"),
    (lambda folder: records.write(folder, [records.image_record(1.0, b"x")] * 3), "images of 1 people"),
    (lambda folder: records.write(folder, [b"short"] * 3), "fewer than its header"),
    (lambda folder: records.write(folder, [struct.pack("<IfQQ", 9, 0, 0, 0)] * 3), "announces 9 labels"),
    (lambda folder: (folder / "train.rec").write_bytes(records.MAGIC + struct.pack("<I", 2 << 29 | 4) + b"x" * 99_999),
     "part of kind 2"),
])
def test_damaged_sets_are_refused(tmp_path, spoil, message):
    folder = records.insightface(tmp_path, PEOPLE)
    spoil(tmp_path)
    with pytest.raises(ZooError, match=message) as caught:
        faces.scan(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [
    records.MAGIC + struct.pack("<I", 1 << 29 | 4) + b"abcd",  # no last part
    records.MAGIC + struct.pack("<I", 100) + b"abcd", records.MAGIC, records.MAGIC + struct.pack("<I", (1 << 29) - 1)])
def test_a_record_that_is_cut_off(tmp_path, content):
    (tmp_path / "train.rec").write_bytes(content)
    with open(str(tmp_path / "train.rec"), "rb") as file, pytest.raises(ZooError, match="record at byte 0"):
        record_faces.read_record(file, 0)


@pytest.mark.usefixtures("one_block")
def test_training_equals_that_on_files(tmp_path, tiny_faces_folder, capfd):
    """The same images in folders and in records give the same losses; nothing is written beside them."""
    for person, images in enumerate(PEOPLE):
        (tmp_path / "files" / f"m.{person}").mkdir(parents=True)
        for number, image in enumerate(images):
            (tmp_path / "files" / f"m.{person}" / f"{number}.jpg").write_bytes(image)
    folder = records.insightface(tmp_path / "sets" / "faces_emore", PEOPLE)
    before = tree(tmp_path / "sets")
    flags = ("--recipe=corrected", "--image_size=32", "--epoch_size=2", "--train_steps=3", "--random_flip",
             "--validation_set_split_ratio=0.2", "--validate_every_n_epochs=1")
    assert train(tmp_path / "files", tmp_path / "a", *flags) == 0
    assert train(tmp_path / "sets", tmp_path / "b", *flags) == 0  # one level below
    assert losses(tmp_path / "a" / "0") == losses(tmp_path / "b" / "0") and len(losses(tmp_path / "a" / "0")) == 3
    assert f"Data: {folder}, 4 people, 16 training and 8 validation images" in capfd.readouterr().out
    assert tree(tmp_path / "sets") == before


@pytest.mark.usefixtures("one_block")
def test_bad_images_in_records(tmp_path, capfd):
    people = [images[:5] + [b"\x89PNGno image"] for images in PEOPLE]
    people[0][5] = b"RIFF0000WEBPVP8 "
    folder = records.insightface(tmp_path / "data", people)
    flags = ("--image_size=32", "--recipe=corrected", "--epoch_size=3", "--train_steps=3")
    assert train(folder, tmp_path / "a", *flags) == 1
    assert "train.rec@" in error_line(capfd)
    assert train(folder, tmp_path / "b", *flags, "--bad_images=skip") == 0
    assert "it is WebP, expected JPEG or PNG); another image is used instead" in capfd.readouterr().out


def test_names_cannot_be_filtered(tmp_path, capfd):
    folder = records.insightface(tmp_path, PEOPLE)
    assert train(folder, tmp_path / "out", "--filter_filename=x.h5") == 2
    assert "holds records, which have no names to filter by" in error_line(capfd)


LISTING = """
import re, sys
from circleloss_tf1 import faces

def peak():  # in kB; ru_maxrss would include that of the process which started this one
    return int(re.search("VmHWM:\\s*([0-9]+) kB", open("/proc/self/status").read()).group(1))

before = peak()
found = faces.scan(sys.argv[1])
print(len(found), len(found.people), (peak() - before) // 1000)
"""


@on_the_default_leg
@pytest.mark.parametrize("num_people", [pytest.param(80_000, marks=pytest.mark.slow), 2_000])
def test_listing_needs_50_bytes_an_image(tmp_path, num_people):
    """Of 62 images a person: 5 million, in `make test` 125,000; the records of images are a hole in the file."""
    num = 62 * num_people
    hole = 10_000 * num
    with open(str(tmp_path / "train.rec"), "wb") as file, open(str(tmp_path / "train.idx"), "w") as index:
        file.write(records.frame(records.image_record([num + 1.0, num + 1.0 + num_people])))
        index.write("0\t0\n")
        index.writelines(f"{key}\t{10_000 * key}\n" for key in range(1, num + 1))
        file.seek(hole + 10_000)
        for person in range(num_people):
            index.write(f"{num + 1 + person}\t{file.tell()}\n")
            file.write(records.frame(records.image_record([62.0 * person + 1, 62.0 * person + 63])))
    result = run_python("-c", LISTING, tmp_path)
    found, people, megabytes = map(int, result.stdout.split())
    print(f"{found} images: {megabytes} MB")
    assert (found, people) == (num, num_people) and megabytes <= 10 + 50 * num / 1e6
