"""SHA-256 checksums that lie beside downloaded files."""
from __future__ import annotations

import hashlib
import os
import re

from common.errors import ZooError

SUFFIX = ".sha256"
_LINE = re.compile(r"([0-9a-fA-F]{64})(?: [ *](.+))?")
_BLOCK_BYTES = 1 << 20


def verify(path: str) -> None:
    """Compare files with the checksums in `<path>.sha256`, as sha256sum writes them; do nothing if there are none.

    Args:
        path: path of a file, or prefix of a checkpoint.

    Raises:
        ZooError: a file differs from its checksum or is missing, or the checksums cannot be read.
    """
    listed = path + SUFFIX
    if not os.path.isfile(listed):
        return
    with open(listed, encoding="utf-8", errors="replace") as file:
        lines = [line for line in file.read().splitlines() if line.strip()]
    matches = [_LINE.fullmatch(line) for line in lines]
    if not matches or None in matches:
        raise ZooError(f"{listed}: expected lines of a SHA-256 checksum and a file, as sha256sum writes them")
    for match in filter(None, matches):
        file_path = os.path.join(os.path.dirname(path), os.path.basename(match.group(2) or path))
        found = _checksum(file_path)
        if found != match.group(1).lower():
            raise ZooError(f"{file_path}: its SHA-256 checksum is {found}, expected {match.group(1).lower()} of "
                           f"{listed}; the file is damaged or another one")


def _checksum(path: str) -> str:
    checksum = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(_BLOCK_BYTES), b""):
                checksum.update(block)
    except OSError as error:
        raise ZooError(f"{path}: {error.strerror}, and {SUFFIX} lists it") from None
    return checksum.hexdigest()
