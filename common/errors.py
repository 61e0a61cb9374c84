"""The two errors that a user causes. `common.cli.program` prints them as one line and exits with their status."""
from __future__ import annotations


class ZooError(Exception):
    """Wrong data or environment. The message names the file, what was found, what was expected and what to do."""

    status = 1


class FlagError(ZooError):
    """A wrong flag."""

    status = 2
