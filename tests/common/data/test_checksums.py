"""Checksums beside files, as sha256sum writes them."""
from __future__ import annotations

import os
import subprocess

import pytest

from common.checkpoints import bundle
from common.data import checksums
from common.errors import ZooError


@pytest.fixture
def checkpoint(tmp_path):
    for suffix, content in ((".index", b"index"), (".data-00000-of-00001", b"data")):
        (tmp_path / f"model.ckpt-5{suffix}").write_bytes(content)
    subprocess.run("sha256sum model.ckpt-5.index model.ckpt-5.data-* > model.ckpt-5.sha256", shell=True, check=True,
                   cwd=str(tmp_path))
    return str(tmp_path / "model.ckpt-5")


def test_sound_files_and_files_without_checksums(checkpoint):
    bundle.require(checkpoint)
    os.remove(checkpoint + checksums.SUFFIX)
    bundle.require(checkpoint)


def test_the_checksum_alone_is_that_of_the_file(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    (tmp_path / "a.npy.sha256").write_text("BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD\n")
    checksums.verify(str(tmp_path / "a.npy"))


@pytest.mark.parametrize("name, content, message", [
    (".data-00000-of-00001", b"dato", "00001: its SHA-256 checksum is .*, expected .*the file is damaged"),
    (".sha256", b"", "expected lines of a SHA-256 checksum"), (".sha256", b"\xff\n", "expected lines of"),
    (".sha256", b"0" * 64 + b"  ../../etc/passwd\n", "passwd: No such file"),  # names are those of files beside it
])
def test_damaged_files(checkpoint, name, content, message):
    with open(checkpoint + name, "wb") as file:
        file.write(content)
    with pytest.raises(ZooError, match=message):
        bundle.require(checkpoint)
