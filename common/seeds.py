"""Seeds of single ops. No TensorFlow."""
from __future__ import annotations

import zlib


def op_seed(name: str, seed: int) -> int:
    """Give an op a seed of its own that depends on its name, not on how many ops were made before it.

    With a graph seed set as well, TensorFlow 1.15 and 2.x then draw the same numbers.
    """
    return (zlib.crc32(name.encode("utf-8")) ^ seed) & 0x7FFFFFFF
