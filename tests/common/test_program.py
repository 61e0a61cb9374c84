"""Every end of a program has its exit status and its one line."""
from __future__ import annotations

import os
import signal

import pytest

from common import program


def run_raising(error):
    def body(stop):
        raise error

    return program.run(body)


@pytest.mark.parametrize("error, status, line", [
    (program.ZooError("no data in /x"), 1, "[Error] no data in /x\n"),
    (program.FlagError("unknown flag --x"), 2, "[Error] unknown flag --x\n"),
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
            raise program.ZooError("damaged")

    assert program.run(body) == 1


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    program.run(lambda stop: 0)
    assert signal.getsignal(signal.SIGTERM) is before
