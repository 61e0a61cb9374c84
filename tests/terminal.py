"""Programs whose output is a terminal."""
from __future__ import annotations

import os
import pty
import subprocess
from typing import Any, NamedTuple

from tests import ROOT
from tests.programs import environment

CLEAR = "\r\x1b[K"


class Shown(NamedTuple):
    """What a program has written to a terminal of 80 columns."""

    status: int
    text: str

    @property
    def lines(self) -> list[str]:
        """The lines that are left when it has ended."""
        return [line.rpartition(CLEAR)[2] for line in self.text.replace("\r\n", "\n").split("\n")]

    @property
    def bars(self) -> list[str]:
        """Every state of its progress bars."""
        parts = [part for line in self.text.replace("\r\n", "\n").split("\n") for part in line.split(CLEAR)]
        return [part for part in parts if "%|" in part]


def run(*command: Any, seconds: float = 300, **variables: str) -> Shown:
    """Run a command in a terminal to its end."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([str(word) for word in command], stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT,
                               env=environment(PYTHONPATH=ROOT, **variables))
    os.close(theirs)
    parts = []
    try:
        while True:
            part = os.read(ours, 65536)
            if not part:
                break
            parts.append(part)
    except OSError:  # so Linux says that the last user of a terminal has gone
        pass
    os.close(ours)
    return Shown(process.wait(seconds), b"".join(parts).decode("utf-8", "replace"))
