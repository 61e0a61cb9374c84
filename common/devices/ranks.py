"""Which of several processes this one is, as whoever started it says in its environment.

| who starts the ranks | rank and number of ranks | addresses |
|---|---|---|
| TF_CONFIG: Kubeflow's TFJob, Ray Train, the launcher on one machine | its task | its cluster |
| the launcher on several machines, or any other script | RANK_ID, RANK_SIZE | --master_addr |
| Slurm's srun | SLURM_PROCID, SLURM_STEP_NUM_TASKS | TensorFlow's SlurmClusterResolver |
| mpirun of Open MPI; of MPICH or Intel MPI | OMPI_COMM_WORLD_RANK and _SIZE; PMI_RANK and PMI_SIZE | --master_addr |
| NPUs | RANK_ID, RANK_SIZE, RANK_TABLE_FILE; or CM_WORKER_SIZE, CM_CHIEF_IP and others | HCCL's business |

The first row counts whose variables define more than one process. On CPUs and GPUs none does without --distributed.
"""
from __future__ import annotations

import json
from typing import Mapping, NamedTuple, Sequence

from common.devices.selection import Rank
from common.errors import ZooError

_COUNTS_910A = (1, 2, 4, 8)


class Starter(NamedTuple):
    """Variables in which one that starts processes numbers them; the last two count on this machine only."""

    rank: str
    size: str
    local_rank: str = ""
    local_size: str = ""


TF_CONFIG, SLURM = "TF_CONFIG", "Slurm"
STARTERS = {
    "RANK_SIZE": Starter("RANK_ID", "RANK_SIZE"),
    SLURM: Starter("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
    "Open MPI": Starter("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
                        "OMPI_COMM_WORLD_LOCAL_SIZE"),
    "MPICH": Starter("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
}


def starter_of(environment: Mapping[str, str]) -> str | None:
    """Return what defines this process as one of several: TF_CONFIG, a key of `STARTERS`, or None."""
    if len(workers_of(environment)[0]) > 1:
        return TF_CONFIG
    return next((name for name, starter in STARTERS.items() if number_of(environment, starter.size, 1) > 1), None)


def current(environment: Mapping[str, str], device_kind: str) -> Rank:
    """Return the rank of this process.

    Args:
        environment: os.environ.
        device_kind: "npu", "gpu" or "cpu".

    Raises:
        ZooError: the environment does not define the rank completely.
    """
    if device_kind == "npu":
        return npu_rank(environment, number_of(environment, "RANK_SIZE", 1))
    name = starter_of(environment)
    if name is None:
        return Rank()
    if name == TF_CONFIG:
        workers, number = workers_of(environment)
        return Rank(number, len(workers))
    starter = STARTERS[name]
    size = number_of(environment, starter.size, 1)
    return Rank(_rank_id(environment, starter.rank, starter.size, size), size)


def npu_rank(environment: Mapping[str, str], size: int) -> Rank:
    """Return the rank of one of several NPUs, which a rank table or a chief connects; errors as `current`.

    Args:
        environment: os.environ.
        size: RANK_SIZE.
    """
    chief_size = number_of(environment, "CM_WORKER_SIZE", 1)
    table, chief = environment.get("RANK_TABLE_FILE"), environment.get("CM_CHIEF_IP")
    if size > 1 and environment.get("CM_WORKER_SIZE"):
        raise ZooError("CM_WORKER_SIZE and RANK_SIZE are both set, which the adapter refuses: unset one of them")
    if max(size, chief_size) <= 1:
        return Rank()
    if table and chief:
        raise ZooError("RANK_TABLE_FILE and CM_CHIEF_IP are both set, which the adapter refuses: unset one of them")
    if chief_size > 1:
        return Rank(_number_under_chief(environment, chief_size), chief_size)
    if not table:
        raise ZooError(f"RANK_TABLE_FILE is not set: {size} NPUs need HCCL's rank table, or on Ascend 910A and A2 "
                       "CM_CHIEF_IP, CM_CHIEF_PORT, CM_CHIEF_DEVICE and CM_WORKER_SIZE instead of RANK_SIZE")
    number = _rank_id(environment, "RANK_ID", "RANK_SIZE", size)
    check_rank_table(table, size, number)
    return Rank(number, size)


def _number_under_chief(environment: Mapping[str, str], size: int) -> int:
    """Return the rank that HCCL will give this process; `common.keras.npu.start` compares it with what HCCL says."""
    for name in ("CM_CHIEF_IP", "CM_CHIEF_PORT", "CM_CHIEF_DEVICE"):
        if not environment.get(name):
            raise ZooError(f"{name} is not set: CM_WORKER_SIZE={size} needs it, where there is no rank table")
    if environment.get("RANK_ID"):
        return _rank_id(environment, "RANK_ID", "CM_WORKER_SIZE", size)
    if environment.get("CM_WORKER_IP") not in (None, "", environment["CM_CHIEF_IP"]):
        raise ZooError("RANK_ID is not set: on another server than the chief's the rank does not follow from "
                       "ASCEND_DEVICE_ID")
    device, first = number_of(environment, "ASCEND_DEVICE_ID", 0), number_of(environment, "CM_CHIEF_DEVICE", 0)
    if not 0 <= device - first < size:
        raise ZooError(f"ASCEND_DEVICE_ID={device}: expected {first} to {first + size - 1}, the {size} devices from "
                       f"CM_CHIEF_DEVICE={first} on; or set RANK_ID")
    return device - first


def _rank_id(environment: Mapping[str, str], name: str, size_name: str, size: int) -> int:
    if not environment.get(name):
        raise ZooError(f"{name} is not set: {size_name}={size} needs one from 0 to {size - 1}")
    number = number_of(environment, name, 0)
    if not 0 <= number < size:
        raise ZooError(f"{name}={number}: expected 0 to {size - 1}, {size_name} is {size}")
    return number


def workers_of(environment: Mapping[str, str]) -> tuple[list[str], int]:
    """Return the addresses of the workers in TF_CONFIG and the index of this one; a chief comes before the workers."""
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
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ZooError(f"TF_CONFIG={text}: cannot be used ({error}); expected "
                       '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}') from None
    return workers, number


def number_of(environment: Mapping[str, str], name: str, default: int) -> int:
    """Return the number, 0 or more, that a variable holds.

    Raises:
        ZooError: it holds something else.
    """
    value = environment.get(name) or str(default)
    if not value.isdigit():
        raise ZooError(f"{name}={value}: expected a number")
    return int(value)


def check_rank_table(path: str, size: int, number: int) -> None:
    """Check that a rank table lists the ranks of a job.

    Args:
        path: value of RANK_TABLE_FILE.
        size: number of ranks of the job.
        number: number of this rank.

    Raises:
        ZooError: the table cannot be read, or belongs to another job.
    """
    devices = [device for server in servers_in(path) for device in server]
    if len(devices) != size:
        raise ZooError(f"RANK_TABLE_FILE={path}: has {len(devices)} devices, expected {size}, one for each rank")
    ranks = [rank for _, rank in devices if rank is not None]
    if ranks and sorted(ranks) != sorted(map(str, range(size))):
        raise ZooError(f"RANK_TABLE_FILE={path}: has the ranks {', '.join(ranks)}; expected \"0\" to \"{size - 1}\", "
                       f"this one is {number}")


def servers_in(path: str) -> list[list[tuple[int, str | None]]]:
    """Return the devices of each server of a rank table: number and rank, None if the table has no ranks.

    In tables of version 1.0 devices have a rank; in those of ModelArts' scheduler, which list groups of instances, they
    have none.

    Raises:
        ZooError: the table cannot be read.
    """
    try:
        with open(path, encoding="utf-8") as file:
            table = json.load(file)
        if "server_list" in table:
            return [[(int(device["device_id"]), str(device["rank_id"])) for device in server["device"]]
                    for server in table["server_list"]]
        return [[(int(device["device_id"]), None) for device in instance["devices"]]
                for group in table["group_list"] for instance in group["instance_list"]]
    except OSError as error:
        raise ZooError(f"RANK_TABLE_FILE={path}: {error.strerror}; give HCCL's rank table") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ZooError(f"RANK_TABLE_FILE={path}: is not a rank table ({type(error).__name__}: {error}); expected JSON "
                       "with server_list, or with group_list") from None


def check_processes(product: str | None, devices: Sequence[int], num_servers: int) -> list[str]:
    """Check the NPUs that a job uses on a server.

    Args:
        product: one of `shared_flags.PRODUCTS`, None when it is unknown.
        devices: numbers of the NPUs.
        num_servers: servers of the job.

    Returns:
        Notices.

    Raises:
        ZooError: the NPUs of this product cannot form such a group.
    """
    problem = _problem_on_910a(sorted(devices))
    if problem and product == "910A":
        raise ZooError(f"on Ascend 910A {problem}")
    if problem and product is None:
        return [f"Notice: on Ascend 910A {problem}; set --npu_product if this is another product"]
    if product == "A3" and num_servers > 1 and num_servers % 2:
        return [f"Notice: an even number of A3 servers is advised, not {num_servers}"]
    return []


def _problem_on_910a(devices: Sequence[int]) -> str | None:
    """Cards 0 to 3 and 4 to 7 are two rings; a group of 2 or 4 must stay within one."""
    named = ", ".join(map(str, devices))
    if len(devices) not in _COUNTS_910A:
        return f"a server takes 1, 2, 4 or 8 processes, not {len(devices)}"
    if len(devices) < 8 and len({device // 4 for device in devices}) > 1:
        return f"{len(devices)} processes stay within cards 0 to 3 or 4 to 7, not cards {named}"
    return None
