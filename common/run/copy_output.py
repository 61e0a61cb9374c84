"""Copy the two output streams of a program to the terminal and to one log file.

Runs as a separate process, `python copy_output.py LOG FD`, which reads stdout from descriptor 0 and stderr from FD. So
the log gets the last output of a program that aborts in C++, and training survives when the reader of the terminal
output exits (`| head`).
"""
import os
import selectors
import signal
import sys


def main(log_path, stderr_source):
    """Copy until both streams have ended."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)  # the program decides when to end
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    targets = {0: 1, stderr_source: 2}
    selector = selectors.DefaultSelector()
    for source in targets:
        selector.register(source, selectors.EVENT_READ)
    while selector.get_map():
        for key, _ in selector.select():
            data = os.read(key.fd, 65536)
            if not data:
                selector.unregister(key.fd)
                continue
            _write(log, data)
            if key.fd in targets and not _write(targets[key.fd], data):
                del targets[key.fd]  # the terminal is closed; keep writing the log


def _write(target, data):
    """Write all data; return False if the target is closed."""
    try:
        while data:
            data = data[os.write(target, data):]
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
