"""Which of several processes this one is, from its environment. No TensorFlow.

A process is one of several when TF_CONFIG names more than one worker (CPUs, GPUs), or RANK_SIZE is more than 1 (NPUs,
with RANK_ID and RANK_TABLE_FILE).
"""
from __future__ import annotations

import json
from typing import Any, Mapping

from common.devices.selection import Rank
from common.errors import ZooError


def current(environment: Mapping[str, str], device_kind: str) -> Rank:
    """Read this process's rank from its environment.

    Args:
        environment: os.environ.
        device_kind: "npu", "gpu" or "cpu".

    Raises:
        ZooError: the environment says several processes and does not say how they find each other.
    """
    workers, number = workers_of(environment)
    size = number_of(environment, "RANK_SIZE", 1)
    if device_kind == "npu":
        return npu_rank(environment, size)
    if len(workers) > 1:
        return Rank(number, len(workers))
    if size > 1:
        raise ZooError(f"RANK_SIZE={size} and no TF_CONFIG: on CPUs and GPUs processes find each other through "
                       "TF_CONFIG; unset RANK_SIZE and let --nproc_per_node start them")
    return Rank()


def npu_rank(environment: Mapping[str, str], size: int) -> Rank:
    """Read the rank of one of several NPUs; errors as `current`.

    Args:
        environment: os.environ.
        size: RANK_SIZE.
    """
    if "CM_WORKER_SIZE" in environment:
        if "RANK_SIZE" in environment:
            raise ZooError("CM_WORKER_SIZE and RANK_SIZE are both set, which the adapter refuses: unset CM_WORKER_SIZE")
        if number_of(environment, "CM_WORKER_SIZE", 1) > 1:
            raise ZooError("CM_WORKER_SIZE is set: give the processes by RANK_SIZE, RANK_ID and RANK_TABLE_FILE "
                           "instead")
    if size <= 1:
        return Rank()
    if "CM_CHIEF_IP" in environment:
        raise ZooError(f"RANK_SIZE={size} and CM_CHIEF_IP is set: processes find each other through RANK_TABLE_FILE; "
                       "unset CM_CHIEF_IP")
    table = environment.get("RANK_TABLE_FILE")
    if not table:
        raise ZooError(f"RANK_TABLE_FILE is not set: {size} NPUs need HCCL's rank table")
    if not environment.get("RANK_ID"):
        raise ZooError(f"RANK_ID is not set: RANK_SIZE={size} needs one from 0 to {size - 1}")
    number = number_of(environment, "RANK_ID", 0)
    if not 0 <= number < size:
        raise ZooError(f"RANK_ID={number}: expected 0 to {size - 1}, RANK_SIZE is {size}")
    check_rank_table(table, size, number)
    return Rank(number, size)


def workers_of(environment: Mapping[str, str]) -> tuple[list[str], int]:
    """Addresses of TF_CONFIG's workers, and which of them this is; TensorFlow counts a chief before the workers."""
    text = environment.get("TF_CONFIG")
    if not text:
        return [], 0
    try:
        config = json.loads(text)
        cluster = config["cluster"]
        kind, number = config["task"]["type"], int(config["task"]["index"])
        if set(cluster) - {"chief", "worker"} or len(cluster.get("chief", [])) > 1 or not 0 <= number < len(
                cluster[kind]):
            raise ValueError("every task must be a worker of the cluster, or its one chief")
        workers = [*cluster.get("chief", []), *cluster.get("worker", [])]
        number += len(cluster.get("chief", [])) if kind == "worker" else 0
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ZooError(f"TF_CONFIG={text}: cannot be used ({error}); expected "
                       '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}') from None
    return workers, number


def number_of(environment: Mapping[str, str], name: str, default: int) -> int:
    """Read a variable that holds a number from 0 on.

    Raises:
        ZooError: it holds something else.
    """
    value = environment.get(name) or str(default)
    if not value.isdigit():
        raise ZooError(f"{name}={value}: expected a number")
    return int(value)


def check_rank_table(path: str, size: int, number: int) -> None:
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
        num, ranks = _ranks_in(table)
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


def _ranks_in(table: Any) -> tuple[int, list[str]]:
    """How many devices there are, and their ranks where the table has them."""
    if "server_list" in table:
        ranks = [str(device["rank_id"]) for server in table["server_list"] for device in server["device"]]
        return len(ranks), ranks
    return sum(len(instance["devices"]) for group in table["group_list"] for instance in group["instance_list"]), []
