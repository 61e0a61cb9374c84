"""Seeds of individual ops."""
from __future__ import annotations

import zlib


def op_seed(name: str, seed: int) -> int:
    """Derive an op's seed from its name, so that it does not depend on how many ops were created before.

    Combined with a graph-level seed, TensorFlow 1.15 and 2.x draw the same numbers.
    """
    return (zlib.crc32(name.encode("utf-8")) ^ seed) & 0x7FFFFFFF
