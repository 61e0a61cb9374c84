"""Batches of pairs for training, made ahead: with images, or with what a device needs to make the images itself.

Images are made by processes, each in a part of memory that all share. A process makes every n-th batch. It ends when
the training process closes its end of the connection or dies.
"""
from __future__ import annotations

import copy
import dataclasses
import mmap
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import BinaryIO, NamedTuple, Sequence

import numpy as np

from common.cli import program
from common.errors import ZooError
from siamese_omniglot.data import augmentation
from siamese_omniglot.data.omniglot import SIDE, TRAIN, DrawingStore, Pairs, PairSampler

DEVICE_AUGMENTATIONS = ("affine", "none")  # those of `Batches.make_changes`
_DRAWINGS_AT_ONCE = 4096  # 10 MB of random states
_SLOTS = 2  # of a process: it makes one batch while another waits to be fetched
_END_SECONDS = 10.0


class PairImages(NamedTuple):
    """A batch of pairs."""

    first: np.ndarray  # uint8 [num, 105, 105], 0 (ink) to 255
    second: np.ndarray  # the other drawings, like `first`
    labels: np.ndarray  # float32 [num], 1 for pairs of one character, 0 for others


class PairChanges(NamedTuple):
    """A batch of pairs whose images are still to be made."""

    drawings: np.ndarray  # int64 [2 num], indices of the first drawings of all pairs, then those of the second
    changes: np.ndarray  # float64 [2 num, 6], see `augmentation.affine_coefficients`; [2 num, 0] changes nothing
    labels: np.ndarray  # float32 [num], 1 for pairs of one character, 0 for others


@dataclasses.dataclass
class Batches:
    """Makes a worker's part of every batch; a step is given by the number of updates before it."""

    store: DrawingStore
    sampler: PairSampler
    batch_size: int  # samples of two pairs in a step, over all workers
    seed: int
    augment: str  # see augmentation.augment
    permute: str  # see PairSampler.draw
    positions: np.ndarray  # int64 [num], positions of this worker's pairs in the batch of all workers

    def make(self, step: int) -> PairImages:
        """Make this worker's part of a batch."""
        drawn, drawings = self._draw(step)
        images = augmentation.augment(self.store.take(drawings), self.augment, self._seeds(step))
        return PairImages(*np.split(images, 2), drawn.labels)

    def make_changes(self, steps: Sequence[int]) -> list[PairChanges]:
        """Make this worker's part of some batches for a device that has the drawings, in next to no time."""
        pairs, drawings = zip(*map(self._draw, steps))
        changes = np.empty((len(steps), len(drawings[0]), 0))
        if self.augment == "affine":
            made = augmentation.affine_changes(np.concatenate(list(map(self._seeds, steps))), SIDE)
            changes = made.reshape(*changes.shape[:2], made.shape[1])
        return [PairChanges(*batch, drawn.labels) for *batch, drawn in zip(drawings, changes, pairs)]

    def _draw(self, step: int) -> tuple[Pairs, np.ndarray]:
        """Return this worker's pairs, and its drawings: those of `first`, then those of `second`."""
        drawn = self.sampler.draw(self.batch_size, TRAIN, step, self.permute, self.positions)
        return drawn, np.concatenate([drawn.first, drawn.second])

    def _seeds(self, step: int) -> np.ndarray:
        """Return a seed for each drawing, int64 [num, 4]."""
        positions = np.concatenate([self.positions, self.positions + 2 * self.batch_size])
        return np.stack(np.broadcast_arrays(self.seed, TRAIN, step, positions), 1)


class ThreadAhead:
    """Prepares changes in a thread before they are needed, many at once, but none beyond the updates of the run."""

    def __init__(self, batches: Batches, num_updates: int):
        self._batches, self._num_updates = batches, num_updates
        # batches to make in a call, which takes hardly longer than for one
        self.num_at_once = max(1, _DRAWINGS_AT_ONCE // (2 * len(batches.positions)))
        self._pool = ThreadPoolExecutor(1)
        self._made: dict[int, Future] = {}  # by the first step

    def get(self, step: int) -> PairChanges:
        """Return the batch of the step after `step` updates. Call it for one step after the other."""
        count = self.num_at_once
        current = step - step % count
        for start in (current, current + count):
            if start not in self._made and start < self._num_updates:
                steps = range(start, min(start + count, self._num_updates))
                self._made[start] = self._pool.submit(self._batches.make_changes, steps)
        self._made.pop(current - count, None)
        return self._made[current].result()[step - current]

    def close(self) -> None:
        """Stop the thread."""
        self._pool.shutdown()


class ProcessesAhead:
    """Prepares the batches of a run in processes before they are needed; without processes it makes them on demand."""

    def __init__(self, batches: Batches, num_processes: int, num_updates: int):
        self._batches, self._num, self._num_updates = batches, num_processes, num_updates
        self._processes: list[subprocess.Popen] = []
        self._connections: list[Connection] = []
        self._slots: np.ndarray  # uint8 [slots, 2, num, 105, 105]; the batch of a step is in step % slots
        self._next = 0  # the first batch that was not requested yet
        if num_processes:
            with _shared_file() as file:
                self._start(file)

    def _start(self, file: BinaryIO) -> None:
        """Start the processes. The shared file holds the slots, the rows of the store and the pickled rest."""
        rest, rows = copy.copy(self._batches), self._batches.store.rows
        rest.store = copy.copy(rest.store)
        rest.store.rows = rows[:0]
        pickled = np.frombuffer(pickle.dumps(rest), np.uint8)
        shapes = (_SLOTS * self._num, 2, len(rest.positions), SIDE, SIDE), rows.shape, pickled.shape
        file.truncate(sum(map(_size, shapes)))
        self._slots, shared_rows, shared_rest = _shared_arrays(file.fileno(), shapes)
        shared_rows[...], shared_rest[...] = rows, pickled
        for _ in range(self._num):
            ours, theirs = Pipe()
            with theirs:
                passed = (file.fileno(), theirs.fileno())
                command = [sys.executable, "-c", f"import {__name__} as module; module.work{(*passed, shapes)}"]
                # in a session of its own it gets no Ctrl-C: the training process decides when it ends
                self._processes.append(subprocess.Popen(command, pass_fds=passed, start_new_session=True,
                                                        env=program.environment()))
            self._connections.append(ours)

    def get(self, step: int) -> PairImages:
        """Return the batch of the step after `step` updates, which the next call overwrites.

        Call it for one step after the other. Raises ZooError if a process has died.
        """
        if not self._num:
            return self._batches.make(step)
        try:
            for number in range(max(step, self._next), min(step + self._num + 1, self._num_updates)):
                self._connections[number % self._num].send(number)
                self._next = number + 1
            labels = self._connections[step % self._num].recv()
        except (EOFError, OSError):
            raise ZooError("a process that prepares batches has died: was it killed, or is there too little memory? "
                           "--num_workers=0 works without processes") from None
        return PairImages(*self._slots[step % len(self._slots)], labels)

    def close(self) -> None:
        """Stop the processes."""
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _shared_file() -> BinaryIO:
    """Return an empty file without a name, in memory where the system has such files."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("batches"), "r+b")
    return tempfile.TemporaryFile()


def _shared_arrays(file: int, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """Return the arrays of these shapes, uint8, that a file holds one after the other."""
    ends = np.cumsum(list(map(_size, shapes)))
    parts = np.split(np.frombuffer(mmap.mmap(file, 0), np.uint8), ends[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes)]


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape))


def work(file: int, descriptor: int, shapes: Sequence[tuple[int, ...]]) -> None:
    """In a process that makes batches: make those that are asked for, until the connection is closed.

    Args:
        file: descriptor of the shared file.
        descriptor: of a connection that gives steps and gets the labels of each, when its images are in its slot.
        shapes: see `ProcessesAhead._start`.
    """
    connection = Connection(descriptor)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    slots, rows, pickled = _shared_arrays(file, shapes)
    batches = pickle.loads(pickled)  # noqa: S301 - of the process that started this one
    batches.store.rows = rows
    try:
        while True:
            step = connection.recv()
            made = batches.make(step)
            for slot, images in zip(slots[step % len(slots)], made):
                slot[...] = images
            connection.send(made.labels)
    except (EOFError, OSError):  # the training process is gone
        return
