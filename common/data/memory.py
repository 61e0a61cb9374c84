"""How much memory a machine has left."""
from __future__ import annotations

import os


def free_memory() -> int:
    """Return the available memory in bytes; on systems other than Linux, the installed memory."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
