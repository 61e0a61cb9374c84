"""What a person sees while a program works: a progress bar on a terminal, and a plain line now and then elsewhere.

The output of a run passes through a process that also writes the log (run/copy_output.py). If it leads to a terminal,
the first character of a line tells that process what the line is for: LOG_ONLY or BAR.
"""
from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
import textwrap
import time
from typing import IO, Any, Iterable, Iterator, Sized, TextIO, TypeVar

LOG_ONLY, BAR = "\x1e", "\x1d"
WIDTH = 80  # columns where a terminal does not say how many it has
_BAR_DELAY_SECONDS = 2.0
_FIRST_LINE_SECONDS, _MAX_LINE_SECONDS = 10.0, 300.0
_CLEAR = "\r\x1b[K"  # the line of a terminal
# written by TensorFlow 2.21 before its log level applies, on CPUs where oneDNN is the default, and by TFLite
_NOISE = re.compile(rb"WARNING: All log messages before absl::InitializeLog\(\)|I\d+ .*(port|cpu_feature_guard)\.cc:|"
                    rb"To enable the following instructions: |INFO: Created TensorFlow Lite XNNPACK delegate|"
                    rb".*NodeDef mentions attribute Truncate")
Item = TypeVar("Item")


class CopiedOutput(io.TextIOWrapper):
    """A stream whose text reaches its target and the log of a run; the target may be a terminal, else None.

    If `is_verbose`, the terminal gets the lines that scripts read, too.
    """

    def __init__(self, descriptor: int, terminal: int | None, is_verbose: bool):
        """Write to a descriptor, which stays open when the stream is closed."""
        super().__init__(io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False)), "utf-8", "backslashreplace",
                         line_buffering=True)
        self.terminal, self.is_verbose = terminal, is_verbose
        self._unfinished = ""  # the last line for the log alone, until its line feed

    def write_to_log(self, text: str) -> None:
        """Write text to the log alone; the output must lead to a terminal."""
        *lines, self._unfinished = (self._unfinished + text).split("\n")
        for line in lines:
            self.write(f"{LOG_ONLY}{line}\n")


def hides_details() -> bool:
    """Whether `detail` shows nothing on the terminal."""
    stream = sys.stdout
    return isinstance(stream, CopiedOutput) and stream.terminal is not None and not stream.is_verbose


def detail(text: str, end: str = "\n") -> None:
    """Print what scripts read. If the output leads to a terminal, only the log gets it, unless --verbose is given."""
    if hides_details():
        assert isinstance(sys.stdout, CopiedOutput)
        sys.stdout.write_to_log(text + end)
    else:
        print(text, end=end, flush=True)


def fold(text: str, stream: TextIO) -> str:
    """Break lines between words if the stream is a terminal on which they are too long."""
    if not stream.isatty():
        return text
    width = _columns(stream.fileno())
    return "\n".join(textwrap.fill(line, width, subsequent_indent="    ", break_long_words=False,
                                   break_on_hyphens=False) if len(line) > width and " " in line.strip() else line
                     for line in text.split("\n"))


def over_bar(text: str, stream: TextIO) -> str:
    """Let a text take the place of a bar that may still be on the terminal when a program ends."""
    return f"{_CLEAR}{text}" if stream.isatty() else text


def notice(text: str) -> None:
    """Print a notice or warning on stderr; it takes the place of a bar."""
    print(over_bar(fold(text, sys.stderr), sys.stderr), file=sys.stderr, flush=True)


@contextlib.contextmanager
def noise_hidden() -> Iterator[None]:
    """Drop TensorFlow's messages about itself from stderr in a block; all other lines are written at its end."""
    with tempfile.TemporaryFile() as captured:
        try:
            with stderr_to(captured):
                yield
        finally:
            captured.seek(0)
            for line in captured:
                if not _NOISE.match(line):
                    os.write(2, line)


@contextlib.contextmanager
def stderr_to(file: IO[bytes]) -> Iterator[None]:
    """Let a block write its errors to a file, also what C++ code writes."""
    terminal = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)


def progress(items: Iterable[Item], what: str, unit: str, total: int | None = None) -> Iterator[Item]:
    """Yield items and show the progress of their consumer; `total` is the number of items if they have no length."""
    count = len(items) if total is None and isinstance(items, Sized) else total
    with Progress(what, count, unit, delay=_BAR_DELAY_SECONDS) as shown:
        for count, item in enumerate(items, 1):
            yield item
            shown.update(count)


class Progress(contextlib.AbstractContextManager):
    """The progress of one task; close it to remove the bar.

    The bar is on the terminal that the output of a run, or stderr of another program, leads to. Where that is no
    terminal, plain lines begin after ten seconds and become rarer.
    """

    def __init__(self, what: str, total: int | None, unit: str, done: int = 0, delay: float = 0.0):
        """Show nothing yet.

        A task, for example "training", has `total` units (None if unknown), such as "step", of which some are `done`
        already. `delay` is in seconds, before the bar appears.
        """
        self._what, self._total, self._unit = what, total, unit
        self._stream: Any = sys.stdout if isinstance(sys.stdout, CopiedOutput) else sys.stderr
        self._started = time.monotonic()
        self._first, self._line_after = done, _FIRST_LINE_SECONDS
        self._terminal = self._stream.terminal if isinstance(self._stream, CopiedOutput) else (
            self._stream.fileno() if self._stream.isatty() else None)
        self._own_stream: TextIO | None = None
        self._bar = None if self._terminal is None else self._make_bar(done, delay)

    def _make_bar(self, done: int, delay: float) -> Any:
        assert self._terminal is not None
        try:
            from tqdm import tqdm
        except ImportError:
            return None
        tqdm.monitor_interval = 0  # no thread
        if not isinstance(self._stream, CopiedOutput):  # still the terminal where a block captures stderr
            self._stream = self._own_stream = os.fdopen(os.dup(self._terminal), "w", encoding="utf-8",
                                                          errors="replace")
        return tqdm(total=self._total, initial=done, desc=self._what, unit=f" {self._unit}", leave=False, delay=delay,
                    ascii=True, miniters=1, mininterval=0.2, position=0, file=_BarLine(self._stream),
                    ncols=_columns(self._terminal) - 1)

    def __exit__(self, *error: object) -> None:
        self.close()

    def update(self, done: int, note: str = "") -> None:
        """Say how many units are done, and something about the last one."""
        if self._bar is not None:
            self._bar.ncols = _columns(self._terminal) - 1
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(done - self._bar.n)
            return
        seconds = time.monotonic() - self._started
        if seconds >= self._line_after:
            self._line_after = seconds + min(seconds, _MAX_LINE_SECONDS)
            print(self._line(done, note, seconds), file=self._stream, flush=True)

    def _line(self, done: int, note: str, seconds: float) -> str:
        rate = (done - self._first) / seconds
        parts = [f"{done} of {self._total}" if self._total else f"{done}", note, f"{rate:.3g} {self._unit}/s"]
        if self._total and rate:
            parts.append(f"{_duration((self._total - done) / rate)} left")
        return f"{self._what}: {', '.join(filter(None, parts))}"

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        if self._own_stream is not None:
            self._own_stream.close()
            self._own_stream = None


class _BarLine:
    """What tqdm takes for a file: every text it writes replaces the one before."""

    encoding = "utf-8"

    def __init__(self, stream: TextIO):
        self._stream = stream
        self.flush = stream.flush

    def write(self, text: str) -> None:
        text = text.strip()
        self._stream.write(f"{BAR}{text}\n" if isinstance(self._stream, CopiedOutput) else f"{_CLEAR}{text}")


def _columns(terminal: int | None) -> int:
    try:
        return os.get_terminal_size(terminal or 0).columns or WIDTH
    except OSError:  # it was closed
        return WIDTH


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
