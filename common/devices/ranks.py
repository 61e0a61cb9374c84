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
from urllib.parse import urlsplit

from common.devices.selection import Rank
from common.errors import ZooError


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
    """Return the rank of this process; ZooError if the environment does not define it completely."""
    if device_kind == "npu":
        return _npu_rank(environment)
    name = starter_of(environment)
    if name == TF_CONFIG:
        workers, number = workers_of(environment)
        return Rank(number, len(workers))
    if name:
        size = number_of(environment, STARTERS[name].size, 1)
        return Rank(_rank_id(environment, STARTERS[name].rank, STARTERS[name].size, size), size)
    return Rank()


def _npu_rank(environment: Mapping[str, str]) -> Rank:
    """Return the rank of one of several NPUs, which a rank table or a chief connects; errors as `current`."""
    size, chief_size = (number_of(environment, name, 1) for name in ("RANK_SIZE", "CM_WORKER_SIZE"))
    if max(size, chief_size) <= 1:
        return Rank()
    for one, other in (("CM_WORKER_SIZE", "RANK_SIZE"), ("RANK_TABLE_FILE", "CM_CHIEF_IP")):
        if environment.get(one) and environment.get(other) not in (None, "", "1"):
            raise ZooError(f"{one} and {other} are both set, which the adapter refuses: unset one of them")
    if chief_size > 1:
        return Rank(_number_under_chief(environment, chief_size), chief_size)
    if not environment.get("RANK_TABLE_FILE"):
        raise ZooError(f"RANK_TABLE_FILE is not set: {size} NPUs need HCCL's rank table, or on Ascend 910A and A2 "
                       "CM_CHIEF_IP, CM_CHIEF_PORT, CM_CHIEF_DEVICE and CM_WORKER_SIZE instead of RANK_SIZE")
    number = _rank_id(environment, "RANK_ID", "RANK_SIZE", size)
    check_rank_table(environment["RANK_TABLE_FILE"], size, number)
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
        cluster, kind, number = config["cluster"], config["task"]["type"], int(config["task"]["index"])
        chief = cluster.get("chief", [])
        if set(cluster) - {"chief", "worker"} or len(chief) > 1 or not 0 <= number < len(cluster[kind]):
            raise ValueError("every task must be a worker of the cluster, or its one chief")
        workers = [*chief, *cluster.get("worker", [])]
        if not all(urlsplit(f"//{worker}").port for worker in workers):
            raise ValueError("every address must be host:port")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ZooError(f"TF_CONFIG={text}: cannot be used ({error}); expected "
                       '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}') from None
    return workers, number + (len(chief) if kind == "worker" else 0)


def number_of(environment: Mapping[str, str], name: str, default: int) -> int:
    """Return the number, 0 or more, that a variable holds; ZooError if it holds something else."""
    value = environment.get(name) or str(default)
    if not value.isdigit():
        raise ZooError(f"{name}={value}: expected a number")
    return int(value)


def check_rank_table(path: str, size: int, number: int) -> None:
    """Raise ZooError if the rank table at a path does not list the ranks of a job, of which this is the given one."""
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
    have none. Raises ZooError if the table cannot be read.
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
    """Check the numbers of the NPUs that a job of some servers uses on one of them, and return notices.

    `product` is one of `shared_flags.PRODUCTS`, None when it is unknown. Raises ZooError if its NPUs cannot form such a
    group.
    """
    if product in ("910A", None):
        # cards 0 to 3 and 4 to 7 are two rings
        reason = ""
        if len(devices) not in (1, 2, 4, 8):
            reason = f"on Ascend 910A a server takes 1, 2, 4 or 8 processes, not {len(devices)}"
        elif len(devices) < 8 and len({device // 4 for device in devices}) > 1:
            reason = (f"on Ascend 910A {len(devices)} processes stay within cards 0 to 3 or 4 to 7, not cards "
                      f"{', '.join(map(str, sorted(devices)))}")
        if reason and product:
            raise ZooError(reason)
        return [f"Notice: {reason}; set --npu_product if this is another product"] if reason else []
    if product == "A3" and num_servers > 1 and num_servers % 2:
        return [f"Notice: an even number of A3 servers is advised, not {num_servers}"]
    return []
