"""The checkpoints of a run: TensorFlow bundles `model.ckpt-<step>` that are whole or not there. No TensorFlow.

A bundle is two files. They are written to a temporary folder, synced and renamed, the index last: a step counts as
saved when its index stands. The two newest are kept, and the steps the caller names. What a bundle holds, and how it is
written and read, is the caller's.
"""
from __future__ import annotations

import os
import shutil
from typing import Callable, Collection, Mapping

from common import atomic_files
from common.checkpoints.bundle import BUNDLE_FILE, PREFIX, steps_in
from common.errors import ZooError

NUM_NEWEST_KEPT = 2
_TEMPORARY = ".saving-"


class DamagedBundle(Exception):
    """A bundle cannot be read; the message says why."""


class CheckpointFolder:
    """The checkpoints of one run."""

    def __init__(self, folder: str, write: Callable[[str], None], read: Callable[[str], int]):
        """Make the folder if need be, and clear what a kill left in it.

        Args:
            folder: the folder.
            write: writes a bundle to a prefix; raises ZooError when it cannot.
            read: restores a bundle from a prefix and returns its step; raises DamagedBundle.
        """
        self.folder = folder
        self._write, self._read = write, read
        os.makedirs(folder, exist_ok=True)
        for name in os.listdir(folder):
            if name.startswith(_TEMPORARY):
                shutil.rmtree(os.path.join(folder, name))

    def save(self, step: int, keep: Collection[int] = ()) -> str:
        """Save `model.ckpt-<step>` and prune.

        Args:
            step: number of updates made.
            keep: see `prune`.

        Returns:
            The bundle's prefix.
        """
        prefix = write_whole(self.folder, f"{PREFIX}-{step}", self._write)
        atomic_files.write_text(os.path.join(self.folder, "checkpoint"), f'model_checkpoint_path: "{PREFIX}-{step}"\n')
        self.prune({step, *keep})
        return prefix

    def prune(self, keep: Collection[int]) -> None:
        """Remove all steps but the two newest and those of `keep`, such as the best one."""
        kept = {*steps_in(self.folder)[-NUM_NEWEST_KEPT:], *keep}
        for name in os.listdir(self.folder):
            match = BUNDLE_FILE.fullmatch(name)
            if match and int(match.group(1)) not in kept:
                os.remove(os.path.join(self.folder, name))

    def restore_newest(self) -> tuple[int | None, list[str]]:
        """Restore the newest checkpoint that is not damaged; rename damaged ones, so that they count no more.

        Returns:
            Its step (None when there is no checkpoint at all), and one notice for each damaged one.

        Raises:
            ZooError: there are checkpoints and all of them are damaged.
        """
        reasons: dict[int, str] = {}
        for step in reversed(steps_in(self.folder)):
            try:
                found = self._read(os.path.join(self.folder, f"{PREFIX}-{step}"))
                if found == step:
                    return step, self._put_damaged_aside(reasons)
                reasons[step] = f"it says step {found}"
            except DamagedBundle as error:
                reasons[step] = str(error)
        if reasons:
            newest = max(reasons)
            raise ZooError(f"{self.folder}: every checkpoint is damaged ({PREFIX}-{newest}: {reasons[newest]}); "
                           "restore one from a copy, or begin anew with --resume=never")
        return None, []

    def _put_damaged_aside(self, reasons: Mapping[int, str]) -> list[str]:
        for name in os.listdir(self.folder):
            match = BUNDLE_FILE.fullmatch(name)
            if match and int(match.group(1)) in reasons:
                os.replace(os.path.join(self.folder, name), os.path.join(self.folder, f"damaged.{name}"))
        return [f"Warning: {os.path.join(self.folder, PREFIX)}-{step} is damaged ({reason}); it is kept as "
                f"damaged.{PREFIX}-{step} and the one before is used." for step, reason in reasons.items()]


def write_whole(folder: str, name: str, write: Callable[[str], None]) -> str:
    """Write a bundle to a temporary folder, sync its files and rename them into place; return its prefix."""
    temporary = os.path.join(folder, f"{_TEMPORARY}{name}")
    shutil.rmtree(temporary, ignore_errors=True)  # of a kill
    os.makedirs(temporary)
    write(os.path.join(temporary, name))
    written = sorted(os.listdir(temporary), key=lambda file: file.endswith(".index"))
    for file in written:
        with open(os.path.join(temporary, file), "rb") as opened:
            os.fsync(opened.fileno())
    for file in written:
        os.replace(os.path.join(temporary, file), os.path.join(folder, file))
    os.rmdir(temporary)
    atomic_files.sync_folder(folder)
    return os.path.join(folder, name)
