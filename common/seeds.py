"""Seeds of individual ops."""
from __future__ import annotations

import zlib


def op_seed(name: str, seed: int) -> int:
    """Derive an op's seed from its name, whatever ops exist; TensorFlow 1.15 and 2.x then draw the same numbers."""
    return (zlib.crc32(name.encode("utf-8")) ^ seed) & 0x7FFFFFFF
