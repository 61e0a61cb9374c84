"""Copy the two output streams of a program to the terminal and to one log file.

Runs as a separate process, `python copy_output.py LOG FD [hide-stderr]`, which reads stdout from descriptor 0 and
stderr from FD. So the log gets the last output of a program that aborts in C++, and training survives when the reader
of the terminal output exits (`| head`).

If stdout is a terminal, lines are folded to its width, and the program may mark them (common/console.py): some are for
the log alone, others are a progress bar, which stays below the other lines.
"""
import os
import selectors
import signal
import sys
import textwrap

LOG_ONLY, BAR = b"\x1e", b"\x1d"  # first byte of a line, as in common/console.py
_CLEAR = b"\r\x1b[K"


def main(log_path, stderr_source, shows_stderr):
    """Copy until both streams have ended."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)  # the program decides when to end
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    copy = (Terminal if os.isatty(1) else Copier)(log, stderr_source, shows_stderr).copy
    selector = selectors.DefaultSelector()
    for source in (0, stderr_source):
        selector.register(source, selectors.EVENT_READ)
    while selector.get_map():
        for key, _ in selector.select():
            data = os.read(key.fd, 65536)
            if not data:
                selector.unregister(key.fd)
            copy(key.fd, data)


class Copier:
    """Copies what it reads as it is."""

    def __init__(self, log, stderr_source, shows_stderr):
        """Copy stdout, descriptor 0, and stderr, the other source, to the log alone unless it is shown."""
        self._log, self._targets = log, {0: 1, stderr_source: 2} if shows_stderr else {0: 1}

    def copy(self, source, data):
        """Copy data to the log and to the target, unless that was closed; no data means the end of the source."""
        _write(self._log, data)
        self._show(source, data)

    def _show(self, source, data):
        if source in self._targets and not _write(self._targets[source], data):
            del self._targets[source]  # the terminal is closed; the log goes on


class Terminal(Copier):
    """Copies whole lines to a terminal."""

    def __init__(self, log, stderr_source, shows_stderr):
        """See `Copier`."""
        super().__init__(log, stderr_source, shows_stderr)
        self._incomplete = {0: b"", stderr_source: b""}
        self._bar = b""

    def copy(self, source, data):
        """Copy the lines that are complete; at the end, the rest."""
        *lines, rest = (self._incomplete[source] + data).split(b"\n")
        if not data and rest:
            lines, rest = [rest], b""
        self._incomplete[source] = rest
        for line in lines:
            self._copy_line(source, line)
        if not data:
            self._draw(source, b"", b"")

    def _copy_line(self, source, line):
        start = max(line.find(LOG_ONLY), line.find(BAR))
        if source != 0 or start < 0:
            _write(self._log, line + b"\n")
            self._draw(source, _fold(line) + b"\n", self._bar)
            return
        if start > 0:  # native code has printed the beginning of a line
            self._copy_line(source, line[:start])
        if line[start:start + 1] == BAR:
            self._draw(source, b"", line[start + 1:])
        else:
            _write(self._log, line[start + 1:] + b"\n")

    def _draw(self, source, lines, bar):
        """Show lines, and the bar below them."""
        if source != 0 and not os.isatty(2):
            self._show(source, lines)
            return
        clear = _CLEAR if self._bar else b""
        self._show(source, clear + lines + bar)
        self._bar = bar


def _fold(line):
    width = os.get_terminal_size(1).columns or 80
    if len(line) <= width or b"\r" in line or b"\x1b" in line or b" " not in line.strip():
        return line
    text = line.decode("utf-8", "surrogateescape")
    folded = textwrap.fill(text, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    return folded.encode("utf-8", "surrogateescape")


def _write(target, data):
    """Write all data; return False if the target is closed."""
    try:
        while data:
            data = data[os.write(target, data):]
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), "hide-stderr" not in sys.argv[3:])
