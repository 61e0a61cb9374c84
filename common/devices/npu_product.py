"""Which series of Ascend products the NPUs of this machine belong to, and what differs between them."""
from __future__ import annotations

import glob
import os
from typing import Sequence

from common.errors import ZooError

_PCI_FOLDER = "/sys/bus/pci/devices"
_VENDOR = "0x19e5"  # Huawei
_PCI_DEVICES = {"0xd801": "910A", "0xd802": "A2", "0xd803": "A3"}
_COUNTS_910A = (1, 2, 4, 8)


def find(requested: str) -> str | None:
    """Return the product.

    Args:
        requested: value of --npu_product; auto looks on the PCI bus.

    Returns:
        One of `shared_flags.PRODUCTS`, None when it is unknown.
    """
    if requested != "auto":
        return requested
    for folder in sorted(glob.glob(os.path.join(_PCI_FOLDER, "*"))):
        if _read(folder, "vendor") == _VENDOR and _read(folder, "device") in _PCI_DEVICES:
            return _PCI_DEVICES[_read(folder, "device")]
    return None


def default_precision(product: str | None) -> str:
    """Describe the precision that an adapter computes in when none is set."""
    if product is None:
        return "allow_fp32_to_fp16 on Ascend 910A, must_keep_origin_dtype on A2, A3 and 950"
    return "allow_fp32_to_fp16" if product == "910A" else "must_keep_origin_dtype"


def check_processes(product: str | None, devices: Sequence[int], num_servers: int) -> list[str]:
    """Check the NPUs that a job uses on a server.

    Args:
        product: one of `shared_flags.PRODUCTS`, None when it is unknown.
        devices: numbers of the NPUs.
        num_servers: servers of the job.

    Returns:
        Notices.

    Raises:
        ZooError: the product's NPUs cannot work together so.
    """
    problem = _problem_on_910a(sorted(devices))
    if problem and product == "910A":
        raise ZooError(f"on Ascend 910A {problem}")
    if problem and product is None:
        return [f"Notice: on Ascend 910A {problem}; --npu_product says which product this is"]
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


def _read(folder: str, name: str) -> str:
    try:
        with open(os.path.join(folder, name), encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
