"""Files that are made to do harm: each is refused in one line, runs nothing, and costs little time and memory."""
from __future__ import annotations

import io
import json
import os
import pickle
import struct
import tarfile
import tempfile
import time
import tracemalloc
import zipfile
import zlib

import h5py
import numpy as np
import pytest
from PIL import Image

from circleloss_tf1 import verification_set
from common.checkpoints import h5_weights
from common.cli import shared_flags
from common.data import image_search, images, plain_pickle
from common.data.kept_embeddings import KeptEmbeddings
from common.devices import ranks
from common.errors import ZooError
from common.run import run_dir
from sa_siam_tf1.datasets import curation, imdb
from sa_siam_tf1.inference import frames
from siamese_omniglot.data import one_shot_runs
from tests import odd_images

SIDE = 0x7FFFFFFF
MAX_SECONDS, MAX_MEGABYTES = 5.0, 300


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height):
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b""))


def jpeg(width, height):
    content = io.BytesIO()
    Image.new("RGB", (16, 16)).save(content, "JPEG")
    data = bytearray(content.getvalue())
    place = data.index(b"\xff\xc0")
    data[place + 5:place + 9] = struct.pack(">2H", height, width)
    return bytes(data)


def bmp(width, height):
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + header + bytes(46)


class Call:
    """Is pickled as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def calls(folder):
    """Pickles that would make a file if they were trusted."""
    made = os.path.join(folder, "pwned")
    functions = ((os.mkdir, made), (os.system, f"touch {made}"), (eval, f"open({made!r}, 'w')"), (np.load, made))
    yield from (pickle.dumps(Call(*call), protocol) for protocol in (0, 2, 4) for call in functions)
    yield f"cos\nmkdir\n(V{made}\ntR.".encode()
    yield f"(V{made}\nios\nmkdir\n.".encode()


def laughs(depth=30):
    entities = "".join(f'<!ENTITY a{number} "&a{number - 1};&a{number - 1};">' for number in range(1, depth))
    return f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a0 "ha">{entities}]><annotation>&a{depth - 1};</annotation>'


def zipped(name, content):
    archive_bytes = io.BytesIO()
    with zipfile.ZipFile(archive_bytes, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("run01/class_labels.txt", "run01/test/item01.png run01/training/class01.png\n")
        archive.writestr("run01/training/class01.png", png(105, 105))
        archive.writestr(name, content)
    return archive_bytes.getvalue()


def with_folder(make):
    with tempfile.TemporaryDirectory() as folder:
        return make(folder)


def refuses_tar(path):
    """As a data folder, in any program."""
    shared_flags.find_data_folder(path, os.path.dirname(path), ["mnist"], lambda folder: True)


def tarred():
    """A file that leads out, and a link that does."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, kind in (("../pwned", tarfile.REGTYPE), ("mnist", tarfile.SYMTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc"
            archive.addfile(member, io.BytesIO())
    return content.getvalue()


def use_kept(path):
    """Embeddings that are not plain arrays are computed anew."""
    def compute(paths):
        raise ZooError("computed anew")

    KeptEmbeddings(path, "same").embed([__file__], compute)


def npz(size=None, **members):
    """An .npz with these bytes as members, besides a right fingerprint; `size` is what it says of the last one's."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in dict(dict(fingerprint=npy(np.array("same")), keys=npy(np.array(["a"]))), **members).items():
            archive.writestr(f"{name}.npy", member)
        archive.infolist()[-1].file_size = size or len(member)
    return content.getvalue()


def npy(array, **options):
    content = io.BytesIO()
    np.save(content, array, **options)
    return content.getvalue()


def npy_header(*shape):
    """Of floats that do not follow."""
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, dict(descr="<f4", fortran_order=False, shape=shape))
    return content.getvalue()


def hdf5(folder):
    """Weights of a terabyte that are not stored."""
    with h5py.File(os.path.join(folder, "w.h5"), "w") as file:
        group = file.create_group("conv")
        group.attrs["weight_names"] = [b"conv/kernel:0"]
        group.create_dataset("kernel:0", (1 << 38,), np.float32, chunks=(1 << 20,))
    with open(os.path.join(folder, "w.h5"), "rb") as file:
        return file.read()


def read_hdf5(path):
    h5_weights.load(path, {"conv/kernel": np.zeros((3, 3))}, "take another file")


NESTED = b"[" * 200_000
HOSTILE = {
    "png": (images.read_rgb, png(SIDE, SIDE)), "png in one row": (images.read_rgb, png(SIDE, 1)),
    "jpg": (images.read_rgb, jpeg(65535, 65535)), "bmp": (images.read_rgb, bmp(SIDE, 1 << 20)),
    "gif": (images.read_rgb, b"GIF89a" + struct.pack("<2H", 65535, 65535) + bytes(100)),
    "mp4": (lambda path: list(frames.frames_of(frames.open_sequence(path), print)),
            b"\0\0\0\x18ftypmp42" + bytes(3000)),
    "xml that grows": (curation.read_annotation, laughs().encode()),
    "xml that reads a file": (curation.read_annotation, b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
                              b"<annotation><folder>&a;</folder></annotation>"),
    "xml in another encoding": (curation.read_annotation, laughs().encode("utf-16")),
    "index": (imdb.read_index, NESTED), "rank table": (lambda path: ranks.check_rank_table(path, 1, 0), NESTED),
    "zip that grows": (one_shot_runs.load, zipped("run01/test/item01.png", bytes(400 << 20))),
    "zip that leads out": (one_shot_runs.load, zipped("../../run01/test/item01.png", png(105, 105))),
    "zip with a name in no encoding": (one_shot_runs.load, zipped("\u00fc.png", b"").replace(b"\xc3\xbc", b"\xc3(")),
    "bin": (verification_set.read, pickle.dumps(Call(os.mkdir, "pwned"), 2)),
    "tar": (refuses_tar, tarred()),
    "npz that calls": (use_kept, npz(embeddings=npy(np.array([Call(os.mkdir, "pwned")], object), allow_pickle=True))),
    "npz that grows": (use_kept, npz(1 << 34, embeddings=npy_header(1 << 32))),
    "npz of a terabyte": (use_kept, npz(embeddings=npy_header(1 << 38))),
    "h5 of a terabyte": (read_hdf5, with_folder(hdf5)),
}
SUFFIXES = {"mp4": ".mp4", "index": ".json", "xml": ".xml", "zip": ".zip", "bin": ".bin", "tar": ".tgz",
            "npz": ".npz", "h5": ".h5"}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(tmp_path, name, monkeypatch):
    monkeypatch.chdir(str(tmp_path))
    read, content = HOSTILE[name]
    path = tmp_path / f"file{SUFFIXES.get(name.split()[0], '.png')}"
    path.write_bytes(content)
    started = time.monotonic()
    tracemalloc.start()
    try:
        with pytest.raises(ZooError) as caught:
            read(str(path))
        assert tracemalloc.get_traced_memory()[1] < MAX_MEGABYTES * 1e6
    finally:
        tracemalloc.stop()
    assert time.monotonic() - started < MAX_SECONDS
    assert "\n" not in str(caught.value).strip() and os.listdir(str(tmp_path)) == [path.name]


def test_arguments_that_are_nested(tmp_path):
    (tmp_path / run_dir.ARGUMENTS).write_bytes(NESTED)
    with pytest.raises(ZooError, match="damaged, or not written by a run"):
        run_dir.read_arguments(str(tmp_path))


@pytest.mark.parametrize("read", [plain_pickle.read_plain, plain_pickle.read_arrays])
def test_pickles_run_nothing(tmp_path, read):
    for number, content in enumerate(calls(str(tmp_path))):
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, dict(descr="|O", fortran_order=False, shape=()))
        prefix = header.getvalue() if read is plain_pickle.read_arrays else b""
        path = tmp_path / f"{number}.npy"
        path.write_bytes(prefix + content)
        with pytest.raises(ZooError, match="not a readable pickle of plain data"):
            read(str(path))
    assert not (tmp_path / "pwned").exists()


def test_links_do_not_lead_out(tmp_path):
    """Folders behind links are not searched, a loop ends, and an index names files of its own tree only."""
    outside, data = tmp_path / "outside", tmp_path / "data"
    outside.mkdir()
    data.mkdir()
    odd_images.make(str(outside), "alpha")
    inside = odd_images.make(str(data), "palette")
    os.symlink(str(outside), str(data / "link"))
    os.symlink(str(data), str(data / "loop"))
    assert image_search.find_images([str(data)]) == [inside]
    for name in ("../outside/alpha.png", "/etc/passwd", "Data\\..\\..\\x", "Data/VID/train/../../../../x"):
        (tmp_path / "train_imdb.json").write_text(json.dumps(dict(
            videos=[[name]], n_videos=1, image_shape=[255, 255, 3])))
        with pytest.raises(ZooError, match="expected a path below"):
            imdb.read_index(str(tmp_path / "train_imdb.json"))


def test_headers_of_huge_images_are_read_in_place():
    assert images.format_of(png(SIDE, SIDE)) == "PNG" and not images.has_alpha(png(SIDE, SIDE))
