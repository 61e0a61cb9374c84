"""Hide the messages about itself that TensorFlow writes to the terminal on import and in conversions."""
from __future__ import annotations

import contextlib
import os
import re
import tempfile
from typing import IO, Iterator

# written by TensorFlow 2.21 before its log level applies, on CPUs where oneDNN is the default, and by TFLite
_NOISE = re.compile(rb"WARNING: All log messages before absl::InitializeLog\(\)|I\d+ .*(port|cpu_feature_guard)\.cc:|"
                    rb"To enable the following instructions: |INFO: Created TensorFlow Lite XNNPACK delegate|"
                    rb".*NodeDef mentions attribute Truncate")


@contextlib.contextmanager
def noise_hidden() -> Iterator[None]:
    """Drop these lines from stderr in a block; all others are written at its end."""
    with tempfile.TemporaryFile() as captured:
        try:
            with stderr_to(captured):
                yield
        finally:
            captured.seek(0)
            for line in captured:
                if not _NOISE.match(line):
                    os.write(2, line)


@contextlib.contextmanager
def stderr_to(file: IO[bytes]) -> Iterator[None]:
    """Let a block write its errors to a file, also what C++ code writes."""
    terminal = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
