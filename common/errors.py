"""Errors that a user can fix: `common.cli.program` prints one line and exits with the status of the class."""
from __future__ import annotations

import contextlib
import re
from typing import Any, Iterator

_OF_OTHER_RANKS = re.compile(r"collective|all_?reduce|recvbuf|hccl|hcom|\bpeer\b|connection|socket", re.IGNORECASE)


class ZooError(Exception):
    """Wrong data or environment. The message names the file, what was found, what was expected and what to do."""

    status = 1


class FlagError(ZooError):
    """A wrong flag."""

    status = 2


class LostRank(ZooError):
    """Another rank of a job has ended or does not come. The same command, started again on all machines, resumes."""

    status = 75  # EX_TEMPFAIL of sysexits.h


def reason_of(error: BaseException) -> str:
    """Summarise an error in one line: its type, and the first line that is not a heading, as TensorFlow writes them."""
    lines = [line.strip() for line in str(getattr(error, "message", None) or error).splitlines()]
    reasons = [line for line in lines if line and not line.endswith(":") and not line.startswith("Detected at node")]
    return ": ".join([type(error).__name__, *(reasons or lines)[:1]])[:250]


@contextlib.contextmanager
def step_errors(errors: Any) -> Iterator[None]:
    """Explain a lack of memory, or of a deterministic operation, in a training step; `errors` is `tf.errors`."""
    try:
        yield
    except errors.ResourceExhaustedError:
        raise ZooError("the device is out of memory during a training step: choose a smaller --batch_size") from None
    except errors.UnimplementedError as error:
        if "determinis" not in error.message.lower():
            raise
        raise ZooError("--deterministic: an operation has no deterministic form on this device "
                       f"({error.message.splitlines()[0]}); train without the flag") from None


@contextlib.contextmanager
def rank_errors(number: int, errors: Any) -> Iterator[None]:
    """Explain, in the rank of a number, that another rank is lost; `errors` is `tf.errors`.

    Of some kinds of errors, those that do not mention a connection are this rank's own.
    """
    try:
        yield
    except errors.UnknownError as error:
        if "Could not start gRPC server" not in str(error):
            raise
        raise ZooError(f"rank {number}: its port is taken by another program; choose another, in TF_CONFIG or with "
                       "--master_port, or, where --nproc_per_node starts the ranks, start them again") from None
    except (errors.UnavailableError, errors.CancelledError, errors.AbortedError, errors.InternalError,
            errors.FailedPreconditionError, errors.DeadlineExceededError) as error:
        is_ambiguous = isinstance(error, (errors.InternalError, errors.FailedPreconditionError))
        if is_ambiguous and not _OF_OTHER_RANKS.search(reason_of(error)):
            raise
        raise LostRank(f"rank {number}: another worker has ended ({reason_of(error)}); the same command resumes from "
                       "the last checkpoint") from None
