"""Copy a program's two output streams to the terminal and into one log file.

Run as a separate process, `python copy_output.py LOG FD`, with stdout's pipe on fd 0 and stderr's on FD. So the last
output of a program that aborts in C++ is kept, and a terminal reader that goes away (`| head`) does not end training.
"""
import os
import selectors
import signal
import sys


def main(log_path, error_source):
    """Copy until both streams are at their end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the program it serves decides when it ends
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    targets = {0: 1, error_source: 2}
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
                del targets[key.fd]  # the terminal went away; the log goes on


def _write(target, data):
    """Write all of data; False when the target is gone."""
    try:
        while data:
            data = data[os.write(target, data):]
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
