"""SHA-256 checksums as sha256sum writes them: of a file or checkpoint in `<path>.sha256`, of a folder in SHA256SUMS."""
from __future__ import annotations

import hashlib
import os
import re

from common.errors import ZooError

SUFFIX, SUMS = ".sha256", "SHA256SUMS"
_LINE = re.compile(r"([0-9a-fA-F]{64})(?: [ *](.+))?")
_BLOCK_BYTES = 1 << 20


def verify(path: str) -> None:
    """Compare a file, or a checkpoint by its prefix, with the checksums in `<path>.sha256`, if there are any.

    Raises ZooError if a file differs from its checksum or is missing, or the checksums cannot be read.
    """
    if os.path.isfile(path + SUFFIX):
        for checksum, name in _read(path + SUFFIX):
            _compare(os.path.join(os.path.dirname(path), os.path.basename(name or path)), checksum, path + SUFFIX)


def has_sums(folder: str) -> bool:
    """Whether a folder has a SHA256SUMS."""
    return os.path.isfile(os.path.join(folder, SUMS))


def verify_folder(folder: str) -> None:
    """Compare the files that the SHA256SUMS of a folder lists; errors as `verify`."""
    listed = os.path.join(folder, SUMS)
    for checksum, name in _read(listed):
        if not name or os.path.isabs(name) or ".." in name.split("/"):
            raise ZooError(f"{listed}: {name!r} is not a file of this folder; download the folder again")
        _compare(os.path.join(folder, name), checksum, listed)


def _read(listed: str) -> list[tuple[str, str | None]]:
    """Return checksums and names of a file that sha256sum wrote; a name may be missing."""
    with open(listed, encoding="utf-8", errors="replace") as file:
        lines = [line for line in file.read().splitlines() if line.strip()]
    matches = [match for match in map(_LINE.fullmatch, lines) if match]
    if not lines or len(matches) < len(lines):
        raise ZooError(f"{listed}: expected lines of a SHA-256 checksum and a file, as sha256sum writes them")
    return [(match.group(1).lower(), match.group(2)) for match in matches]


def _compare(path: str, expected: str, listed: str) -> None:
    try:
        checksum = of_file(path)
    except OSError as error:
        raise ZooError(f"{path}: {error.strerror}, and {os.path.basename(listed)} lists it") from None
    if checksum != expected:
        raise ZooError(f"{path}: its SHA-256 checksum is {checksum}, expected {expected} of {listed}; the file is "
                       "damaged or has been replaced")


def of_file(path: str) -> str:
    """Return the checksum of a file."""
    checksum = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(_BLOCK_BYTES), b""):
            checksum.update(block)
    return checksum.hexdigest()
