"""When over_dump, data_dump and profiling act without an NPU, and what they write. No TensorFlow."""
from __future__ import annotations

import os
from typing import Mapping

import numpy as np

from common.cli.shared_flags import parse_dump_steps
from common.devices.npu_options import NpuOptions
from common.errors import ZooError

LAST_PROFILED_UPDATE = 10


class DebugPlan:
    """What the flags ask for, step by step."""

    def __init__(self, options: NpuOptions, num_updates: int):
        """Make the folders.

        Args:
            options: what the flags ask for; one without paths asks for nothing.
            num_updates: updates of the run; one of the first ten of them is profiled.
        """
        self.options = options
        self._profiled_update = min(LAST_PROFILED_UPDATE, num_updates)
        self._dump_steps = parse_dump_steps(options.data_dump_step) if options.data_dump_path else []
        options.make_folders()

    def dumps(self, update: int) -> bool:
        """Whether tensors are dumped at an update, counted from 1."""
        return any(first <= update <= last for first, last in self._dump_steps)

    def profiles(self, update: int) -> bool:
        """Whether an update is profiled."""
        return bool(self.options.profiling_path) and update == self._profiled_update

    def write_dump(self, values: Mapping[str, np.ndarray], update: int) -> None:
        """Write tensors by name, as .npy."""
        assert self.options.data_dump_path is not None
        folder = os.path.join(self.options.data_dump_path, f"step-{update}")
        os.makedirs(folder, exist_ok=True)
        for name, value in values.items():
            np.save(os.path.join(folder, name.replace("/", ".") + ".npy"), value, allow_pickle=False)

    def overflow(self, found: str, message: str, update: int) -> ZooError:
        """Write TensorFlow's message about a NaN or infinity, and return the error to raise."""
        assert self.options.over_dump_path is not None
        path = os.path.join(self.options.over_dump_path, f"overflow-step-{update}.txt")
        with open(path, "w", encoding="utf-8") as file:
            file.write(message + "\n")
        return ZooError(f"overflow at step {update}: {found}; details in {path}")


def too_little_memory() -> ZooError:
    """The error for a training step that does not fit."""
    return ZooError("the device has too little memory for a training step: take a smaller --batch_size")
