"""Errors that a user can fix: `common.cli.program` prints one line and exits with the status of the class."""
from __future__ import annotations


class ZooError(Exception):
    """Wrong data or environment. The message names the file, what was found, what was expected and what to do."""

    status = 1


class FlagError(ZooError):
    """A wrong flag."""

    status = 2


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its kind if it has none."""
    return next(filter(None, str(error).splitlines()), type(error).__name__)
