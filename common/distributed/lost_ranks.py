"""Errors that say that another rank of the job is lost."""
from __future__ import annotations

import contextlib
import re
from typing import Any, Iterator

from common.devices.selection import Rank
from common.errors import LostRank, ZooError, reason_of

_OF_OTHERS = re.compile(r"collective|all_?reduce|recvbuf|hccl|hcom|\bpeer\b|connection|socket", re.IGNORECASE)


@contextlib.contextmanager
def explained(rank: Rank, errors: Any) -> Iterator[None]:
    """Turn TensorFlow's errors about a lost rank into one line. Of some kinds of errors, those that do not mention a
    connection are this rank's own.

    Args:
        rank: of this process.
        errors: `tf.errors`.
    """
    try:
        yield
    except errors.UnknownError as error:
        if "Could not start gRPC server" not in str(error):
            raise
        raise ZooError(f"rank {rank.number}: its port is taken by another program; choose another, in TF_CONFIG or "
                       "with --master_port, or, where --nproc_per_node starts the ranks, start them again") from None
    except (errors.UnavailableError, errors.CancelledError, errors.AbortedError, errors.InternalError,
            errors.FailedPreconditionError, errors.DeadlineExceededError) as error:
        is_ambiguous = isinstance(error, (errors.InternalError, errors.FailedPreconditionError))
        if is_ambiguous and not _OF_OTHERS.search(reason_of(error)):
            raise
        raise LostRank(f"rank {rank.number}: another worker has ended ({reason_of(error)}); the same command resumes "
                       "from the last checkpoint") from None
