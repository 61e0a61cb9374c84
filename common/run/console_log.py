"""What a process prints, copied to a log. No TensorFlow."""
from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import Iterator

_PATIENCE_SECONDS = 3.0


@contextlib.contextmanager
def copy_output(log_path: str) -> Iterator[None]:
    """Send file descriptors 1 and 2, also of children and C++ code, through a process that copies them to a log.

    sys.stdout and sys.stderr are set to these descriptors meanwhile, wherever they led before.
    """
    streams = sys.stdout, sys.stderr
    for stream in streams:
        stream.flush()
    saved = os.dup(1), os.dup(2)
    out_read, out_write = os.pipe()
    error_read, error_write = os.pipe()
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "copy_output.py")
    process = subprocess.Popen([sys.executable, "-I", "-S", script, log_path, str(error_read)],
                               stdin=out_read, pass_fds=(error_read,), start_new_session=True)
    os.close(out_read)
    os.close(error_read)
    os.dup2(out_write, 1)
    os.dup2(error_write, 2)
    os.close(out_write)
    os.close(error_write)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, encoding="utf-8", errors="backslashreplace",
                                        closefd=False) for number in (1, 2))
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = streams
        for number, fd in zip((1, 2), saved):
            os.dup2(fd, number)
            os.close(fd)
        try:
            process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:  # a child of ours still holds the streams; its words will be copied too
            pass
