"""Variables of the environment that change what the NPU adapter does."""
from __future__ import annotations

from typing import MutableMapping

JOB = ("RANK_TABLE_FILE", "CM_CHIEF_IP", "CM_CHIEF_PORT", "CM_CHIEF_DEVICE", "CM_WORKER_SIZE", "CM_WORKER_IP")


def leave_job(environment: MutableMapping[str, str]) -> list[str]:
    """Remove what would make a program of one device a member of a job of several.

    A session joins HCCL's job as soon as there is a rank table or a chief, whatever RANK_SIZE says.

    Args:
        environment: os.environ, before the adapter is imported.

    Returns:
        A notice for each variable that was removed.
    """
    names: tuple[str, ...] = JOB
    if environment.get("RANK_SIZE") not in (None, "", "1"):
        names += ("RANK_SIZE", "RANK_ID")
    return [f"Notice: {name}={value} is ignored: this program uses one device" for name, value in
            [(name, environment.pop(name, "")) for name in names] if value]


def leave_loops(environment: MutableMapping[str, str]) -> list[str]:
    """Remove NPU_LOOP_SIZE, by which npu_device makes several steps of a loop over a data set at once.

    Arguments and result are those of `leave_job`.
    """
    size = environment.pop("NPU_LOOP_SIZE", "")
    return [f"Notice: NPU_LOOP_SIZE={size} is ignored: it would change how many steps a call makes"] if size else []
