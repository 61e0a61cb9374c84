"""Processes that make batches before they are needed, each in a part of memory that all share.

A process makes every n-th batch. It ends when the training process closes its end of the connection or dies.
"""
from __future__ import annotations

import io
import mmap
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from common.cli import program
from common.errors import ZooError
from siamese_omniglot.data.batches import ImageBatches, PairImages
from siamese_omniglot.data.omniglot import SIDE

_SLOTS = 2  # of a process: it makes one batch while another waits to be fetched
_ALIGNMENT = 64
_END_SECONDS = 10.0


class _Plan(NamedTuple):
    """What a process is told first. Positions are in bytes from the start of the shared memory."""

    pickled: bytes  # an ImageBatches, without its arrays
    arrays: list  # (start, shape, dtype) of each of these arrays
    slots: list  # where the slots of this process start
    num_pairs: int


class _Pickler(pickle.Pickler):
    """Pickles everything but arrays, which it collects. Protocol 5 could do so too, but Python 3.7 lacks it."""

    def __init__(self, file: BinaryIO):
        super().__init__(file)
        self.arrays: list[np.ndarray] = []

    def persistent_id(self, value: Any) -> int | None:
        if not isinstance(value, np.ndarray) or value.dtype.hasobject:
            return None
        self.arrays.append(np.ascontiguousarray(value))
        return len(self.arrays) - 1


class _Unpickler(pickle.Unpickler):
    """Reads what `_Pickler` wrote."""

    def __init__(self, file: BinaryIO, arrays: list[np.ndarray]):
        super().__init__(file)
        self._arrays = arrays

    def persistent_load(self, number: int) -> np.ndarray:
        return self._arrays[number]


class ProcessesAhead:
    """Prepares batches in processes before they are needed; without processes it makes them on demand."""

    def __init__(self, batches: ImageBatches, num_processes: int, num_updates: int):
        """Start the processes.

        Args:
            batches: makes the batches.
            num_processes: number of processes.
            num_updates: number of updates of the run; no batches are made beyond it.
        """
        self._batches, self._num, self._num_updates = batches, num_processes, num_updates
        self._processes: list[subprocess.Popen] = []
        self._connections: list[Connection] = []
        self._slots: list[list[PairImages]] = []
        self._next = 0  # the first batch that was not requested yet
        if num_processes:
            with _shared_file() as file:
                self._start(file)

    def _start(self, file: BinaryIO) -> None:
        pickled = io.BytesIO()
        pickler = _Pickler(pickled)
        pickler.dump(self._batches)
        num_pairs, arrays, size = self._batches.num_pairs, [], 0
        for array in pickler.arrays:
            arrays.append((size, array.shape, array.dtype))
            size = _aligned(size + array.nbytes)
        slot_size = _aligned(2 * num_pairs * SIDE * SIDE + 4 * num_pairs)
        starts = [size + slot_size * number for number in range(_SLOTS * self._num)]
        file.truncate(size + slot_size * len(starts))
        memory = mmap.mmap(file.fileno(), 0)
        for array, (start, shape, dtype) in zip(pickler.arrays, arrays):
            np.ndarray(shape, dtype, memory, start)[...] = array
        for number in range(self._num):
            plan = _Plan(pickled.getvalue(), arrays, starts[_SLOTS * number:_SLOTS * (number + 1)], num_pairs)
            self._slots.append([_slot(memory, start, num_pairs) for start in plan.slots])
            ours, theirs = Pipe()
            with theirs:
                passed = (file.fileno(), theirs.fileno())
                command = [sys.executable, "-c", f"import {__name__} as module; module.work{passed}"]
                # in a session of its own it gets no Ctrl-C: the training process decides when it ends
                self._processes.append(subprocess.Popen(command, pass_fds=passed, start_new_session=True,
                                                        env=program.environment()))
            ours.send(plan)
            self._connections.append(ours)

    def get(self, step: int) -> PairImages:
        """Return the batch of the step after `step` updates, which the next call overwrites.

        Call it for one step after the other.

        Raises:
            ZooError: a process has died.
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
        descriptor: of a connection. It gives the plan, then (step, slot) again and again, and gets None for each batch.
    """
    connection = Connection(descriptor)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    memory = mmap.mmap(file, 0)
    try:
        plan = connection.recv()
        arrays = [np.ndarray(shape, dtype, memory, start) for start, shape, dtype in plan.arrays]
        batches = _Unpickler(io.BytesIO(plan.pickled), arrays).load()  # from the process that started this one
        slots = [_slot(memory, start, plan.num_pairs) for start in plan.slots]
        while True:
            step, slot = connection.recv()
            for target, values in zip(slots[slot], batches.make(step)):
                target[...] = values
            connection.send(None)
    except (EOFError, OSError):  # the training process is gone
        return
