"""Embeddings of image files, kept in an .npz from one program to the next."""
from __future__ import annotations

import functools
import operator
import os
import struct
import zipfile
import zlib
from typing import Callable, Iterable, Sequence

import numpy as np

from common import atomic_files, console
from common.errors import reason_of

FILE = "embeddings.npz"
MAX_BYTES = 1 << 32  # of an index
_DAMAGED = (OSError, ValueError, KeyError, EOFError, RuntimeError, SyntaxError, TypeError, struct.error,
            zipfile.BadZipFile, zlib.error)


class KeptEmbeddings:
    """An index of embeddings by the path, size and time of the last change of their files.

    The last `embed` has returned `num_used` different embeddings, of which it has computed `num_computed`.
    """

    def __init__(self, path: str, fingerprint: str):
        """Use an .npz; one of other weights or settings by its fingerprint, or a damaged one, is replaced."""
        self.path = path
        self.num_used = self.num_computed = 0
        self._fingerprint = fingerprint
        self._read_once: dict[str, np.ndarray] | None = None

    def missing(self, paths: Sequence[str]) -> list[str]:
        """Return the files, each once, whose embeddings are not in the index."""
        kept = self._kept()
        return list({_key(path): path for path in paths if _key(path) not in kept}.values())

    def clear(self) -> None:
        """Let all embeddings be computed anew."""
        self._read_once = {}

    def embed(self, paths: Sequence[str], compute: Callable[[list[str]], Iterable[np.ndarray | None]]) -> np.ndarray:
        """Return embeddings of image files, float32 [files that can be read, dim].

        `compute` returns those that are not in the index, None for a file that cannot be read.
        """
        kept, keys = self._kept(), [_key(path) for path in paths]
        missing = {key: path for key, path in zip(keys, paths) if key not in kept}
        computed = dict(zip(missing, compute(list(missing.values())) if missing else ()))
        computed = {key: embedding for key, embedding in computed.items() if embedding is not None}
        if computed:
            kept.update(computed)
            self._write(kept)
        keys = [key for key in keys if key in kept]
        self.num_used, self.num_computed = len(set(keys)), len(computed)
        return np.array([kept[key] for key in keys], np.float32)

    def _kept(self) -> dict[str, np.ndarray]:
        if self._read_once is None:
            self._read_once = self._read()
        return self._read_once

    def _read(self) -> dict[str, np.ndarray]:
        if not os.path.exists(self.path):
            return {}
        try:
            with zipfile.ZipFile(self.path) as archive:
                if sum(_size_of(archive, member) for member in archive.infolist()) > MAX_BYTES:
                    raise ValueError("it is too large")
                if archive.testzip():
                    raise ValueError("a checksum is wrong")
            with np.load(self.path, allow_pickle=False) as arrays:
                fingerprint, keys, embeddings = (arrays[name] for name in ("fingerprint", "keys", "embeddings"))
            if embeddings.dtype != np.float32 or embeddings.ndim != 2 or keys.shape != embeddings.shape[:1]:
                raise ValueError("its arrays do not belong together")
        except _DAMAGED as error:
            console.notice(f"Notice: {self.path}: is damaged ({reason_of(error)}); it is computed again")
            return {}
        if str(fingerprint) != self._fingerprint:
            console.notice(f"Notice: {self.path}: is of another checkpoint, other settings or other images; it is "
                           "computed again")
            return {}
        return dict(zip(keys.tolist(), embeddings))

    def _write(self, kept: dict[str, np.ndarray]) -> None:
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        content = atomic_files.npz(fingerprint=np.array(self._fingerprint), keys=np.array(list(kept)),
                                   embeddings=np.stack(list(kept.values())).astype(np.float32))
        atomic_files.write_bytes(self.path, content)


def _size_of(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    """Return the bytes of an array by its header, which numpy allocates; ValueError if the file has another number."""
    with archive.open(member) as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    size = functools.reduce(operator.mul, shape, dtype.itemsize)  # integers of Python do not overflow
    if not 0 <= member.file_size - size < 1 << 16:  # the header
        raise ValueError(f"{member.filename}: {member.file_size} bytes for an array of {size}")
    return size


def state_of(paths: Sequence[str]) -> int:
    """Return a checksum of the paths, sizes and times of files, in their order."""
    return zlib.crc32("\n".join(map(_key, paths)).encode("utf-8", "surrogateescape"))


def _key(path: str) -> str:
    """Return a name for the current content of a file: path, size and time of the last change."""
    state = os.stat(path)
    checksum = zlib.crc32(os.path.abspath(path).encode("utf-8", "surrogateescape"))
    return f"{checksum:08x}-{state.st_size}-{state.st_mtime_ns}-{os.path.basename(path)}"
