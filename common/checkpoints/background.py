"""Checkpoints that are written beside training, which only waits while the values are captured."""
from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Callable, Collection

from common.checkpoints.bundle import CheckpointFolder


class BackgroundFolder:
    """A checkpoint folder whose files are written by a thread, one checkpoint at a time and in the order of the calls.

    What a checkpoint promises is not changed: it counts once its index exists, and a killed run resumes from the newest
    one that does, with the rows of metrics up to it.
    """

    def __init__(self, folder: CheckpointFolder, capture: Callable[[], None]):
        """Start no thread yet.

        Args:
            folder: the folder, which is not to be used directly any more.
            capture: keeps the values of now for the next save of the folder.
        """
        self._folder, self._capture = folder, capture
        self._thread = ThreadPoolExecutor(1)
        self._jobs: list[Future] = []
        self.restore_newest = folder.restore_newest

    def save(self, step: int, keep: Collection[int] = ()) -> None:
        """Save `model.ckpt-<step>` with the values of now, and prune; the file is there after `wait`.

        Raises:
            ZooError: an earlier checkpoint could not be written.
        """
        self.wait()
        self._capture()
        self._jobs.append(self._thread.submit(self._folder.save, step, keep))

    def prune(self, keep: Collection[int]) -> None:
        """Remove steps as `CheckpointFolder.prune` does, after what is being written; errors as those of `save`."""
        for job in self._jobs:
            if job.done():
                job.result()
        self._jobs.append(self._thread.submit(self._folder.prune, keep))

    def wait(self) -> None:
        """Return once everything is on the disk; errors as those of `save`."""
        jobs, self._jobs = self._jobs, []
        for job in jobs:
            job.result()
