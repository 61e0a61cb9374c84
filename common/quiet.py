"""Keep what TensorFlow writes about itself when it is imported off the terminal."""
from __future__ import annotations

import contextlib
import os
import re
import tempfile
from typing import Iterator

# TensorFlow 2.21 writes these before its log level applies, on CPUs for which oneDNN is the default
_NOISE = re.compile(rb"WARNING: All log messages before absl::InitializeLog\(\)|I\d+ .*(port|cpu_feature_guard)\.cc:|"
                    rb"To enable the following instructions: ")


@contextlib.contextmanager
def import_noise_hidden() -> Iterator[None]:
    """Drop these lines from stderr in a block, also when C++ code writes them; all others follow when it ends."""
    with tempfile.TemporaryFile() as captured:
        terminal = os.dup(2)
        os.dup2(captured.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            captured.seek(0)
            for line in captured:
                if not _NOISE.match(line):
                    os.write(2, line)
