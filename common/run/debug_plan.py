"""When over_dump, data_dump and profiling act on GPUs and CPUs, and the files they write."""
from __future__ import annotations

import os
from typing import Mapping

import numpy as np

from common.cli.shared_flags import parse_dump_steps
from common.devices.npu_options import NpuOptions
from common.errors import ZooError

LAST_PROFILED_UPDATE = 10


class DebugPlan:
    """What the flags ask for at each update; updates count from 1."""

    def __init__(self, options: NpuOptions, num_updates: int):
        """Create the folders.

        Args:
            options: the requested options; nothing is done for those without a path.
            num_updates: total number of updates.
        """
        self.options = options
        self._profiled_update = min(LAST_PROFILED_UPDATE, num_updates)
        self._dump_steps = parse_dump_steps(options.data_dump_step) if options.data_dump_path else []
        options.make_folders()

    def dumps(self, update: int) -> bool:
        """Whether tensors are dumped."""
        return any(first <= update <= last for first, last in self._dump_steps)

    def profiles(self, update: int) -> bool:
        """Whether the update is profiled."""
        return bool(self.options.profiling_path) and update == self._profiled_update

    def write_dump(self, values: Mapping[str, np.ndarray], update: int) -> None:
        """Write tensors, by name, as .npy files."""
        assert self.options.data_dump_path is not None
        folder = os.path.join(self.options.data_dump_path, f"step-{update}")
        os.makedirs(folder, exist_ok=True)
        for name, value in values.items():
            np.save(os.path.join(folder, name.replace("/", ".") + ".npy"), value, allow_pickle=False)

    def overflow(self, summary: str, message: str, update: int) -> ZooError:
        """Write TensorFlow's message about a NaN or infinity to a file, and return the error to raise."""
        assert self.options.over_dump_path is not None
        path = os.path.join(self.options.over_dump_path, f"overflow-step-{update}.txt")
        with open(path, "w", encoding="utf-8") as file:
            file.write(message + "\n")
        return ZooError(f"overflow at step {update}: {summary}; details in {path}")


def out_of_memory() -> ZooError:
    """Return the error for a training step that does not fit into the memory of the device."""
    return ZooError("the device is out of memory during a training step: choose a smaller --batch_size")
