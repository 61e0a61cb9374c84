"""Errors that a user can fix: `common.cli.program` prints one line and exits with the status of the class."""
from __future__ import annotations


class ZooError(Exception):
    """Wrong data or environment. The message names the file, what was found, what was expected and what to do."""

    status = 1


class FlagError(ZooError):
    """A wrong flag."""

    status = 2


class LostRank(ZooError):
    """Another rank of a job has ended or does not come. The same command, started again on all machines, resumes."""

    status = 75  # EX_TEMPFAIL of sysexits.h


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its kind if it has none."""
    return next(filter(None, str(error).splitlines()), type(error).__name__)


def reason_of(error: BaseException) -> str:
    """Summarise an error of TensorFlow in one line: its type and the first line that is not a heading."""
    message = getattr(error, "message", None) or str(error)
    lines = [line.strip() for line in str(message).splitlines()]
    reasons = [line for line in lines if line and not line.endswith(":") and not line.startswith("Detected at node")]
    return f"{type(error).__name__}: {reasons[0][:200] if reasons else lines[0]}"
