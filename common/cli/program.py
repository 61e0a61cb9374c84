"""How every program of the zoo starts, stops and fails.

Exit status: 0 the program did what was asked, 2 a wrong flag, 1 wrong data or environment, 130 SIGINT, 143 SIGTERM,
129 SIGHUP; 75 another rank of the job was lost: start the job again.
A user's mistake is one line on stderr; only a defect of ours shows a traceback.
"""
from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import threading
import time
from typing import Callable, Iterator, Sequence, TextIO

from common import ROOT, console
from common.errors import FlagError, ZooError

_ANSWER_SECONDS = 0.2  # in which a signal is handled, unless native code computes
_REPEAT_SECONDS = 1.0  # in which a second signal is taken for the first one
_END = b"\0"  # the number of no signal


class HelpRequested(Exception):
    """`-h` or `--help` was given; the argument is the help text."""


class Stopped(BaseException):
    """SIGINT, SIGTERM or SIGHUP arrived. Not an Exception, so that nothing swallows it on the way out."""

    def __init__(self, signum: int):
        super().__init__(f"Stopped by {signal.Signals(signum).name}.")
        self.status = 128 + signum


class StopRequest:
    """Turns SIGINT, SIGTERM and SIGHUP into `Stopped`, at once or at the next safe point.

    A training loop runs under `deferred()` and calls `check()` where its state can be saved. A signal soon after the
    first has no effect: a terminal and a script may both send one.

    Several workers of a training stop after the same step. One that received a signal tells the others in the sums of
    its next step, at no extra cost, and each step sets `num_stopping`.

    Attributes:
        started: when the program began, by time.monotonic().
        is_shared: whether this is one of several workers.
        num_stopping: how many workers had received a signal before the last step.
    """

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.is_shared, self.num_stopping = False, 0
        self._signum: int | None = None
        self._arrived = 0.0
        self._deferred = False
        self._complete = False
        self._is_answered = False

    def handle(self, signum, frame) -> None:
        del frame
        is_repeated = self._signum is not None
        if self._complete or is_repeated and (self._deferred or time.monotonic() < self._arrived + _REPEAT_SECONDS):
            return
        self._signum, self._arrived = signum, time.monotonic()
        if not self._deferred:
            raise Stopped(signum)  # once more if a library has swallowed the first one
        self._answer(1, "Stopping after this step.")

    def answer_late(self) -> None:
        """Answer a signal for which `handle` has not been called, since native code computes in the main thread."""
        if self._signum is None and not self._complete:
            if self._deferred:
                self._answer(1, "Stopping after this step.")
            else:
                self._answer(2, console.over_bar("Stopping after this computation.", sys.stderr))

    def _answer(self, descriptor: int, text: str) -> None:
        if not self._is_answered:
            self._is_answered = True
            with contextlib.suppress(OSError):  # print() may be what the signal interrupted
                os.write(descriptor, f"{text}\n".encode())

    @property
    def requested(self) -> bool:
        """Whether a signal has arrived; of several workers, whether all know it."""
        return self.num_stopping > 0 if self.is_shared else self._signum is not None

    @property
    def is_signalled(self) -> bool:
        """Whether this worker has to tell others to stop."""
        return self.is_shared and self._signum is not None

    def check(self) -> None:
        """Raise `Stopped` if it is requested."""
        if self.requested and not self._complete:
            raise Stopped(self._signum or signal.SIGTERM)  # another worker may have received it

    def complete(self) -> None:
        """Declare the work done: a pending or later signal no longer makes the program fail."""
        self._complete = True

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Defer signals until `check()`; a pending one is raised when the block ends without an error."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        self.check()


@contextlib.contextmanager
def _signals_to(stop: StopRequest) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may install signal handlers
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup ignores it on purpose
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, stop.handle) for number in numbers}
    arrivals, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    wakeup_before = signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
    answering = threading.Thread(target=_answer_late, args=(arrivals, numbers, stop), daemon=True)
    answering.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup_before)
        os.write(wakeup, _END)
        answering.join()
        os.close(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)


def _answer_late(arrivals: int, numbers: Sequence[int], stop: StopRequest) -> None:
    """Answer signals that the main thread does not handle soon; native code delays Python's handlers until it returns.

    The pipe `arrivals` gets the number of every signal when it arrives, and _END at last.
    """
    with open(arrivals, "rb", buffering=0) as pipe:
        for number in iter(lambda: pipe.read(1), _END):
            time.sleep(_ANSWER_SECONDS)
            if number[0] in numbers:
                stop.answer_late()


def run(body: Callable[[StopRequest], int]) -> int:
    """Run a body, and return its exit status or that of the ZooError or signal that ended it, printed on stderr."""
    stop = StopRequest()
    _open_closed_streams()
    try:
        with _signals_to(stop):
            status = body(stop)
            sys.stdout.flush()
            return status
    except HelpRequested as request:
        _say(str(request), sys.stdout)
        return 0
    except ZooError as error:
        _say(f"[Error] {error}", sys.stderr)
        return error.status
    except Stopped as stopped:
        _say(str(stopped), sys.stderr)
        return stopped.status
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
        _discard(sys.stdout)
        return 128 + signal.SIGPIPE
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] in sys.modules:  # a module of a package that is there
            raise
        _say(f"[Error] {sys.executable} lacks the package {error.name}: run 'make setup' in the repository's root and "
             "use .venv/bin/python", sys.stderr)
        return ZooError.status
    except MemoryError:
        _say("[Error] out of memory: use a smaller --batch_size, or a machine with more", sys.stderr)
        return ZooError.status
    except OSError as error:
        if error.strerror is None:  # not from the operating system, so a defect
            raise
        where = f": {error.filename}" if error.filename else ""
        _say(f"[Error] {error.strerror}{where}", sys.stderr)
        return ZooError.status


def entry(body: Callable[[list[str], StopRequest], int]) -> Callable[..., int]:
    """Decorator: turn `main(arguments, stop)` into `main(argv=None)`; None is the process' command line."""

    @functools.wraps(body)
    def main(argv: list[str] | None = None) -> int:
        arguments = list(sys.argv[1:] if argv is None else argv)
        return run(lambda stop: body(arguments, stop))

    return main


def positionals(arguments: list[str], usage: str, count: int = 1) -> list[str]:
    """Return the arguments of a program without flags; raise FlagError with its usage unless there are `count`."""
    if "-h" in arguments or "--help" in arguments:
        raise HelpRequested(f"usage: {usage}")
    if len(arguments) != count:
        raise FlagError(f"usage: {usage}")
    return arguments


def environment() -> dict[str, str]:
    """Return the environment of a process that runs a module of the zoo, `python -m common.zoo`, from any directory."""
    return dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, (ROOT, os.environ.get("PYTHONPATH")))))


def _open_closed_streams() -> None:
    """Open stdout and stderr on /dev/null if the program was started with them closed (`>&-`)."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
            os.set_inheritable(number, True)  # dup2 changes nothing if /dev/null was opened as this number
            setattr(sys, name, open(number, "w", closefd=False))  # noqa: SIM115 - for the rest of the process


def _say(text: str, stream: TextIO) -> None:
    try:
        print(console.over_bar(console.fold(text, stream), stream), file=stream, flush=True)
    except BrokenPipeError:
        _discard(stream)


def _discard(stream: TextIO) -> None:
    """Discard output that is not flushed yet; the interpreter would fail to flush it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
