"""How every program of the zoo starts, stops and fails.

Exit status: 0 the program did what was asked, 2 a wrong flag, 1 wrong data or environment, 130 SIGINT, 143 SIGTERM.
A user's mistake is one line on stderr; only a defect of ours shows a traceback.
"""
from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from typing import Callable, Iterator, TextIO


class ZooError(Exception):
    """Wrong data or environment. The message names the file, what was found, what was wanted and what to do."""

    status = 1


class FlagError(ZooError):
    """A wrong flag."""

    status = 2


class HelpRequested(Exception):
    """`-h` or `--help` was given; the argument is the help text."""


class Stopped(BaseException):
    """SIGINT or SIGTERM arrived. Not an Exception, so that nothing swallows it on the way out."""

    def __init__(self, signum: int):
        super().__init__(signal.Signals(signum).name)
        self.status = 128 + signum


class StopRequest:
    """Turns SIGINT and SIGTERM into `Stopped`, at once or at the next safe point.

    A training loop runs under `deferred()` and calls `check()` where its state can be saved.
    """

    def __init__(self) -> None:
        self._signum: int | None = None
        self._deferred = False

    def handle(self, signum, frame) -> None:
        del frame
        self._signum = signum
        if not self._deferred:
            raise Stopped(signum)

    @property
    def requested(self) -> bool:
        """Whether a signal waits to be acted on."""
        return self._signum is not None

    def check(self) -> None:
        """Raise `Stopped` if a signal has arrived."""
        if self._signum is not None:
            raise Stopped(self._signum)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Hold signals back until `check()`; one that nobody checked for is acted on when the block ends well."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        self.check()


@contextlib.contextmanager
def _signals_to(stop: StopRequest) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # signal handlers belong to the main thread: a program embedded elsewhere keeps its own
        return
    before = {number: signal.signal(number, stop.handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(body: Callable[[StopRequest], int]) -> int:
    """Run a program's body and turn its end into an exit status.

    Args:
        body: takes the StopRequest and returns the exit status.

    Returns:
        The body's status; that of the ZooError or signal that ended it, after one line on stderr.
    """
    stop = StopRequest()
    try:
        with _signals_to(stop):
            return body(stop)
    except HelpRequested as request:
        _say(str(request), sys.stdout)
        return 0
    except ZooError as error:
        _say(f"[Error] {error}", sys.stderr)
        return error.status
    except Stopped as stopped:
        _say(f"Stopped by {stopped}.", sys.stderr)
        return stopped.status
    except OSError as error:
        if error.strerror is None:  # raised by hand somewhere, not by the system: a defect
            raise
        where = f": {error.filename}" if error.filename else ""
        _say(f"[Error] {error.strerror}{where}", sys.stderr)
        return ZooError.status


def _say(text: str, stream: TextIO) -> None:
    """Print, also to a reader that went away, such as `head`."""
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
