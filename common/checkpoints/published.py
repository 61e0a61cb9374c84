"""Published weights: a folder like a run directory, with the weights of one checkpoint and checksums.

    README.md (the card)  SHA256SUMS (of all but the card)
    arguments.json  metrics.jsonl (evaluations)  ckpt/model.ckpt-STEP.*

`sha256sum -c SHA256SUMS` checks it as well.
"""
from __future__ import annotations

import hashlib
import os
import re

from common import atomic_files
from common.errors import ZooError

SUMS = "SHA256SUMS"
CARDS = ("README.md", "README.zh-CN.md")
PRETRAINED = "pretrained"  # value of --checkpoint, and folder of a model
_LINE = re.compile(r"([0-9a-f]{64})  ([\w.-]+(?:/[\w.-]+)*)")


def is_published(folder: str) -> bool:
    """Whether a folder holds published weights."""
    return os.path.isfile(os.path.join(folder, SUMS))


def write_sums(folder: str) -> None:
    """Write SHA256SUMS for all files of a folder but its card."""
    paths = sorted(os.path.relpath(os.path.join(base, name), folder) for base, _, names in os.walk(folder)
                   for name in names)
    lines = [f"{_sha256(os.path.join(folder, path))}  {path}\n" for path in paths if path not in (SUMS, *CARDS)]
    atomic_files.write_text(os.path.join(folder, SUMS), "".join(lines))


def verify(folder: str) -> None:
    """Check the files of published weights.

    Raises:
        ZooError: a file is missing or has another checksum, or SHA256SUMS is damaged.
    """
    with open(os.path.join(folder, SUMS), encoding="utf-8", errors="replace") as file:
        lines = file.read().splitlines()
    for line in lines:
        match = _LINE.fullmatch(line)
        if not match or ".." in match.group(2).split("/"):
            raise ZooError(f"{os.path.join(folder, SUMS)}: {line[:80]!r} is not a checksum and a file; get the folder "
                           "again")
        path = os.path.join(folder, match.group(2))
        if not os.path.isfile(path):
            raise ZooError(f"{path}: missing, but listed in {SUMS}; get the folder again")
        if _sha256(path) != match.group(1):
            raise ZooError(f"{path}: differs from its checksum in {SUMS}; get the file again")


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
