"""HCCL's rank table, checked before anything starts. No TensorFlow."""
from __future__ import annotations

import json
from typing import Any

from common.program import ZooError


def check(path: str, size: int, number: int) -> None:
    """Check that a rank table has the ranks that a job is made of.

    Tables of version 1.0 list servers whose devices have a rank; those that ModelArts' scheduler writes list groups of
    instances whose devices have none.

    Args:
        path: value of RANK_TABLE_FILE.
        size: ranks of the job.
        number: of this rank.

    Raises:
        ZooError: the table cannot be read, or is that of another job.
    """
    try:
        with open(path, encoding="utf-8") as file:
            table = json.load(file)
        num, ranks = _ranks(table)
    except OSError as error:
        raise ZooError(f"RANK_TABLE_FILE={path}: {error.strerror}; give HCCL's rank table") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ZooError(f"RANK_TABLE_FILE={path}: is no rank table ({type(error).__name__}: {error}); expected JSON "
                       "with server_list, or with group_list") from None
    if num != size:
        raise ZooError(f"RANK_TABLE_FILE={path}: has {num} devices, expected {size}, one for each rank")
    if ranks and sorted(ranks) != sorted(map(str, range(size))):
        raise ZooError(f"RANK_TABLE_FILE={path}: has the ranks {', '.join(ranks)}; expected \"0\" to \"{size - 1}\", "
                       f"this one is {number}")


def _ranks(table: Any) -> tuple[int, list[str]]:
    """How many devices there are, and their ranks where the table has them."""
    if "server_list" in table:
        ranks = [str(device["rank_id"]) for server in table["server_list"] for device in server["device"]]
        return len(ranks), ranks
    return sum(len(instance["devices"]) for group in table["group_list"] for instance in group["instance_list"]), []
