"""Batches of pairs for training, made ahead: with images, or with what a device needs to make the images itself.

Images are made by processes, each in a part of memory that all share. A process makes every n-th batch. It ends when
the training process closes its end of the connection or dies.
"""
from __future__ import annotations

import copy
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
from siamese_omniglot.data import augmentation, random_streams
from siamese_omniglot.data.omniglot import SIDE, DrawingStore
from siamese_omniglot.data.pairs import TRAIN, Pairs, PairSampler

_DRAWINGS_AT_ONCE = 4096  # 10 MB of random states
_SLOTS = 2  # of a process: it makes one batch while another waits to be fetched
_ALIGNMENT = 64
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


class BatchRecipe(NamedTuple):
    """Settings of the batches."""

    batch_size: int  # samples of two pairs in a step, over all workers
    seed: int
    augment: str  # see augmentation.augment
    permute: str  # see PairSampler.draw
    positions: np.ndarray  # int64 [num], positions of this worker's pairs in the batch of all workers

    def draw(self, sampler: PairSampler, step: int) -> tuple[Pairs, np.ndarray]:
        """Return this worker's pairs, and its drawings: those of `first`, then those of `second`."""
        drawn = sampler.draw(self.batch_size, TRAIN, step, self.permute, self.positions)
        return drawn, np.concatenate([drawn.first, drawn.second])

    def seeds(self, step: int) -> np.ndarray:
        """Return a seed for each drawing, int64 [num, 4]."""
        positions = np.concatenate([self.positions, self.positions + 2 * self.batch_size])
        return np.stack(np.broadcast_arrays(self.seed, TRAIN, step, positions), 1)


class ImageBatches:
    """Makes a worker's part of every batch."""

    def __init__(self, store: DrawingStore, sampler: PairSampler, recipe: BatchRecipe):
        self.store, self._sampler, self._recipe = store, sampler, recipe
        self.num_pairs = len(recipe.positions)

    def make(self, step: int) -> PairImages:
        """Make this worker's part of the batch of the step after `step` updates."""
        recipe = self._recipe
        drawn, drawings = recipe.draw(self._sampler, step)
        images = augmentation.augment(self.store.take(drawings), recipe.augment, recipe.seeds(step).tolist())
        return PairImages(images[:self.num_pairs], images[self.num_pairs:], drawn.labels)


class ChangeBatches:
    """Makes a worker's part of every batch for a device that has the drawings, in next to no time."""

    augmentations = ("affine", "none")

    def __init__(self, sampler: PairSampler, recipe: BatchRecipe):
        self._sampler, self._recipe = sampler, recipe
        # batches to make in a call, which takes hardly longer than for one
        self.num_at_once = max(1, _DRAWINGS_AT_ONCE // (2 * len(recipe.positions)))

    def make_several(self, steps: Sequence[int]) -> list[PairChanges]:
        """Make this worker's part of some batches: of those of the steps after so many updates."""
        pairs, drawings = zip(*(self._recipe.draw(self._sampler, step) for step in steps))
        changes = np.empty((len(steps), len(drawings[0]), 0))
        if self._recipe.augment == "affine":
            seeds = np.concatenate([self._recipe.seeds(step) for step in steps])
            made = augmentation.affine_coefficients(random_streams.uniform(seeds, augmentation.NUM_UNIFORM), SIDE)
            changes = made.reshape(*changes.shape[:2], made.shape[1])
        return [PairChanges(*batch, drawn.labels) for *batch, drawn in zip(drawings, changes, pairs)]


class ThreadAhead:
    """Prepares batches in a thread before they are needed, many at once, but none beyond the updates of the run."""

    def __init__(self, batches: ChangeBatches, num_updates: int):
        self._batches, self._num_updates = batches, num_updates
        self._pool = ThreadPoolExecutor(1)
        self._made: dict[int, Future] = {}  # by the first step

    def get(self, step: int) -> PairChanges:
        """Return the batch of the step after `step` updates. Call it for one step after the other."""
        count = self._batches.num_at_once
        current = step - step % count
        for start in (current, current + count):
            if start not in self._made and start < self._num_updates:
                steps = range(start, min(start + count, self._num_updates))
                self._made[start] = self._pool.submit(self._batches.make_several, steps)
        self._made.pop(current - count, None)
        return self._made[current].result()[step - current]

    def close(self) -> None:
        """Stop the thread."""
        self._pool.shutdown()


class ProcessesAhead:
    """Prepares the batches of a run in processes before they are needed; without processes it makes them on demand."""

    def __init__(self, batches: ImageBatches, num_processes: int, num_updates: int):
        self._batches, self._num, self._num_updates = batches, num_processes, num_updates
        self._processes: list[subprocess.Popen] = []
        self._connections: list[Connection] = []
        self._slots: list[list[PairImages]] = []
        self._next = 0  # the first batch that was not requested yet
        if num_processes:
            with _shared_file() as file:
                self._start(file)

    def _start(self, file: BinaryIO) -> None:
        """Start the processes. They share the rows of the store; the rest of the batches is pickled behind it."""
        batches, rows, num_pairs = copy.copy(self._batches), self._batches.store.rows, self._batches.num_pairs
        batches.store = copy.copy(batches.store)
        batches.store.rows = rows[:0]
        pickled = pickle.dumps(batches)
        begin, slot_size = rows.nbytes + len(pickled), 2 * num_pairs * SIDE * SIDE + 4 * num_pairs
        starts = [_aligned(begin) + _aligned(slot_size) * number for number in range(_SLOTS * self._num)]
        file.truncate(starts[-1] + slot_size)
        memory = mmap.mmap(file.fileno(), 0)
        np.ndarray(rows.shape, rows.dtype, memory)[...] = rows
        memory[rows.nbytes:begin] = pickled
        for number in range(self._num):
            own = starts[_SLOTS * number:_SLOTS * (number + 1)]
            self._slots.append([_slot(memory, start, num_pairs) for start in own])
            ours, theirs = Pipe()
            with theirs:
                passed = (file.fileno(), theirs.fileno())
                command = [sys.executable, "-c", f"import {__name__} as module; module.work{passed}"]
                # in a session of its own it gets no Ctrl-C: the training process decides when it ends
                self._processes.append(subprocess.Popen(command, pass_fds=passed, start_new_session=True,
                                                        env=program.environment()))
            ours.send((rows.shape, own))
            self._connections.append(ours)

    def get(self, step: int) -> PairImages:
        """Return the batch of the step after `step` updates, which the next call overwrites.

        Call it for one step after the other. Raises ZooError if a process has died.
        """
        if not self._num:
            return self._batches.make(step)
        connection = self._connections[step % self._num]
        try:
            for number in range(max(step, self._next), min(step + self._num + 1, self._num_updates)):
                self._connections[number % self._num].send((number, self._slot_of(number)))
                self._next = number + 1
            connection.recv()
        except (EOFError, OSError):
            raise ZooError("a process that prepares batches has died: was it killed, or is there too little memory? "
                           "--num_workers=0 works without processes") from None
        return self._slots[step % self._num][self._slot_of(step)]

    def _slot_of(self, step: int) -> int:
        return step // self._num % _SLOTS

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


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _slot(memory: mmap.mmap, start: int, num_pairs: int) -> PairImages:
    labels = np.ndarray(num_pairs, np.float32, memory, start)
    images = np.ndarray((2, num_pairs, SIDE, SIDE), np.uint8, memory, start + labels.nbytes)
    return PairImages(images[0], images[1], labels)


def work(file: int, descriptor: int) -> None:
    """In a process that makes batches: make those that are asked for, until the connection is closed.

    Args:
        file: descriptor of the shared memory.
        descriptor: of a connection. It gives the shape of the store's rows and the starts of the slots of this process,
            then (step, slot) again and again, and gets None for each batch.
    """
    connection = Connection(descriptor)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    memory = mmap.mmap(file, 0)
    try:
        shape, starts = connection.recv()
        rows = np.ndarray(shape, np.uint8, memory)
        batches = pickle.loads(memoryview(memory)[rows.nbytes:])  # noqa: S301 - of the process that started this one
        batches.store.rows = rows
        slots = [_slot(memory, start, batches.num_pairs) for start in starts]
        while True:
            step, slot = connection.recv()
            for target, values in zip(slots[slot], batches.make(step)):
                target[...] = values
            connection.send(None)
    except (EOFError, OSError):  # the training process is gone
        return
