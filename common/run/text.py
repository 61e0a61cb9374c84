"""Text files that grow with the rows."""
from __future__ import annotations

import os
from typing import TextIO


class GrowingText:
    """A text file that begins anew with the first line that is added: rows that are replayed fill it again."""

    def __init__(self, path: str, head: str = ""):
        """Open nothing yet.

        Args:
            path: of the file.
            head: what it begins with.
        """
        self._path, self._head = path, head
        self._file: TextIO | None = None

    def add(self, text: str) -> None:
        """Add a text, its line feeds included."""
        if self._file is None:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            self._file = open(self._path, "w", encoding="utf-8", buffering=1)  # noqa: SIM115 - closed in close()
            self._file.write(self._head)
        self._file.write(text)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
