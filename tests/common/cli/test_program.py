"""Every end of a program has its exit status and its one line."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from common.cli import program
from common.errors import FlagError, ZooError
from tests import ROOT


def run_raising(error):
    def body(stop):
        raise error

    return program.run(body)


@pytest.mark.parametrize("error, status, line", [
    (ZooError("no data in /x"), 1, "[Error] no data in /x\n"),
    (FlagError("unknown flag --x"), 2, "[Error] unknown flag --x\n"),
    (OSError(28, "No space left on device", "/x/y"), 1, "[Error] No space left on device: /x/y\n"),
])
def test_errors_are_one_line_on_stderr(capfd, error, status, line):
    assert run_raising(error) == status
    out, err = capfd.readouterr()
    assert (out, err) == ("", line)


def test_help_goes_to_stdout(capfd):
    assert run_raising(program.HelpRequested("usage")) == 0
    assert capfd.readouterr() == ("usage\n", "")


@pytest.mark.parametrize("error", [ValueError("a defect"), OSError("by hand")])
def test_defects_keep_their_traceback(error):
    with pytest.raises(type(error)):
        run_raising(error)


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_the_program_at_once(capfd, number, status):
    def body(stop):
        os.kill(os.getpid(), number)
        raise AssertionError("went on")

    assert program.run(body) == status
    assert signal.Signals(number).name in capfd.readouterr().err


def test_a_deferred_signal_waits_for_the_check():
    reached = []

    def body(stop):
        with stop.deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            reached.append(stop.requested)
            stop.check()
        raise AssertionError("went on")

    assert program.run(body) == 143 and reached == [True]


def test_a_deferred_signal_that_nobody_checks_for_counts_at_the_end():
    def body(stop):
        with stop.deferred():
            os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("went on")

    assert program.run(body) == 130


def test_an_error_in_a_deferred_block_is_not_hidden_by_a_signal():
    def body(stop):
        with stop.deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            raise ZooError("damaged")

    assert program.run(body) == 1


def test_a_second_signal_changes_nothing():
    def body(stop):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGINT)  # would otherwise interrupt the clean-up

    assert program.run(body) == 143


COMPUTES = """
import hashlib, os, signal, sys
from common.cli import program
def body(stop):
    with stop.deferred() if {deferred} else open(os.devnull):
        print("computing", flush=True)
        hashlib.pbkdf2_hmac("sha256", b"x", b"y", 10 ** 8)  # minutes in native code
sys.exit(program.run(body))
"""


@pytest.mark.parametrize("deferred, line", [(True, "Stopping after this step.\n"),
                                            (False, "Stopping after this computation.\n")])
def test_a_signal_is_answered_while_native_code_computes(deferred, line):
    with subprocess.Popen([sys.executable, "-c", COMPUTES.format(deferred=deferred)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, cwd=ROOT, universal_newlines=True) as process:
        assert process.stdout.readline() == "computing\n"
        time.sleep(0.5)  # it goes on from there
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == line and process.poll() is None
        process.kill()


def test_a_signal_that_a_library_swallows_can_be_repeated(monkeypatch):
    monkeypatch.setattr(program, "_REPEAT_SECONDS", 0.05)

    def body(stop):
        for seconds in (0.0, 0.1):
            time.sleep(seconds)
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except BaseException:  # noqa: B036 - as libraries do
                if seconds:
                    raise
        raise AssertionError("went on")

    assert program.run(body) == 130


def test_a_signal_after_all_is_done_makes_no_failure_of_it():
    def body(stop):
        with stop.deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            stop.complete()
        os.kill(os.getpid(), signal.SIGINT)
        return 0

    assert program.run(body) == 0


def test_a_terminal_that_hangs_up_stops_the_program_unless_it_runs_under_nohup():
    def body(stop):
        os.kill(os.getpid(), signal.SIGHUP)
        return 0

    assert program.run(body) == 129
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert program.run(body) == 0
    signal.signal(signal.SIGHUP, before)


def test_a_reader_that_went_away_is_no_error():
    script = "import sys; from common.cli import program; sys.exit(program.run(lambda stop: print('x' * 99999) or 0))"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait() == 141


def test_closed_streams_are_opened():
    script = "import sys; from common.cli import program; sys.exit(program.run(lambda stop: print('hello') or 0))"
    status = subprocess.call(["bash", "-c", f'"{sys.executable}" -c "$0" >&- 2>&-', script], cwd=ROOT)
    assert status == 0


def test_out_of_memory_is_one_line(capfd):
    assert run_raising(MemoryError()) == 1
    assert "out of memory" in capfd.readouterr().err


def test_an_entry_takes_the_arguments_it_is_given_or_those_of_the_process(monkeypatch):
    seen = []

    @program.entry
    def main(arguments, stop):
        """Do it."""
        seen.append((arguments, stop.requested))
        return 3

    monkeypatch.setattr(sys, "argv", ["program", "--x"])
    assert (main(["--y"]), main(), main.__doc__) == (3, 3, "Do it.")
    assert seen == [(["--y"], False), (["--x"], False)]


def test_positional_arguments_are_counted():
    assert program.positionals(["a"], "program FOLDER") == ["a"]
    with pytest.raises(FlagError, match="^usage: program FOLDER$"):
        program.positionals(["a", "b"], "program FOLDER")
    with pytest.raises(program.HelpRequested, match="^usage: program FOLDER$"):
        program.positionals(["-h"], "program FOLDER")


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    program.run(lambda stop: 0)
    assert signal.getsignal(signal.SIGTERM) is before
