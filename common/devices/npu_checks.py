"""What is wrong with an NPU host, found without an adapter's help."""
from __future__ import annotations

import importlib
import sys
from typing import Mapping

from common.devices import ranks, selection
from common.devices.selection import Device
from common.errors import ZooError

SET_ENV = "/usr/local/Ascend/cann/set_env.sh (older: /usr/local/Ascend/ascend-toolkit/set_env.sh)"


def problems(device: Device, tensorflow: str, environment: Mapping[str, str]) -> list[str]:
    """Return what keeps an NPU from being used, with a version of TensorFlow."""
    assert device.adapter is not None
    found = [pairing_problem(device.adapter, tensorflow, sys.version_info[:2]), _files(device, environment)]
    if not environment.get("ASCEND_OPP_PATH"):
        found.append(f"ASCEND_OPP_PATH is not set: source {SET_ENV}")
    try:
        size = _check_ranks(environment)
        if size > 1 or device.adapter == "npu_bridge":
            found.append(_hccl(device.adapter))
    except ZooError as error:
        found.append(str(error))
    return [problem for problem in found if problem]


def pairing_problem(adapter: str, tensorflow: str, python: tuple[int, ...]) -> str | None:
    """Say why an adapter cannot be used with this version of TensorFlow and Python, or None."""
    first, last = ((3, 7), (3, 7)) if adapter == "npu_bridge" else ((3, 7), (3, 9))
    needed = "1.15." if adapter == "npu_bridge" else "2.6."
    reason = ""
    if tensorflow.startswith("2.13.") and adapter == "npu_device":
        reason = (": the adapter's branch for TensorFlow 2.13 cannot be imported, its loss-scale optimizer has a base "
                  "class that TensorFlow 2.9 dropped")
    if tensorflow.startswith(needed) and first <= python[:2] <= last:
        return None
    return (f"{adapter} is for {selection.SUPPORTED[adapter]}, not for TensorFlow {tensorflow} with Python "
            f"{'.'.join(map(str, python[:2]))}{reason}")


def _files(device: Device, environment: Mapping[str, str]) -> str | None:
    files = selection.device_files()
    if not files:
        return "there is no /dev/davinci0 or any other: load the driver, or start the container with the devices"
    wanted = f"/dev/davinci{device.id}"
    if wanted not in files and not environment.get("ASCEND_RT_VISIBLE_DEVICES"):
        return f"ASCEND_DEVICE_ID={device.id}: there is no {wanted}, only {', '.join(files)}"
    return None


def _check_ranks(environment: Mapping[str, str]) -> int:
    """Return the size of the job that the environment describes, after a look at its rank table."""
    size = ranks.current(environment, "npu").size
    if size > 1 and environment.get("RANK_TABLE_FILE"):
        servers = ranks.servers_in(environment["RANK_TABLE_FILE"])
        for server in servers:
            ranks.check_processes(selection.find_product("auto"), [number for number, _ in server], len(servers))
    return size


def _hccl(adapter: str) -> str | None:
    try:
        importlib.import_module("hccl.manage.api")
    except Exception as error:  # it loads shared libraries
        purpose = "" if adapter == "npu_bridge" else " for several NPUs"
        return (f"hccl.manage.api, which {adapter} needs{purpose}, cannot be imported ({type(error).__name__}: {error})"
                f": source {SET_ENV}")
    return None
