"""What a process and its children print reaches the terminal and the log, whatever ends them."""
from __future__ import annotations

import os
import subprocess
import sys
import time

from tests import ROOT

TALKER = """
import os, subprocess, sys
from common.run import opening
with opening.copy_output(sys.argv[1]):
    print("from python")
    print("an error", file=sys.stderr)
    subprocess.call(["sh", "-c", "echo from a child"])
    {last}
print("after")
"""


def talk(log, last="pass", **kwargs):
    environment = dict(os.environ, PYTHONPATH=ROOT)
    return subprocess.Popen([sys.executable, "-c", TALKER.format(last=last), str(log)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, env=environment, **kwargs)


def test_output_of_process_and_children_goes_to_terminal_and_log(tmp_path):
    out, error = talk(tmp_path / "log").communicate()
    assert sorted(out.decode().split("\n")) == ["", "after", "from a child", "from python"]
    assert error.decode() == "an error\n"
    log = (tmp_path / "log").read_text()
    assert set(log.split("\n")) == {"from python", "an error", "from a child", ""}


def test_last_words_of_an_abort_are_kept(tmp_path):
    process = talk(tmp_path / "log", "os.write(2, b'F fatal: check failed'); os.abort()")
    process.communicate()
    assert process.returncode == -6
    assert "F fatal: check failed" in (tmp_path / "log").read_text()


def test_a_child_that_stays_does_not_hold_the_program(tmp_path):
    """It inherits the streams and prints after the program has ended; that reaches the log as well."""
    process = talk(tmp_path / "log", "subprocess.Popen(['sh', '-c', 'sleep 6; echo late'])")
    started = time.monotonic()
    process.wait()
    assert time.monotonic() - started < 5.5
    deadline = time.monotonic() + 20
    while "late" not in (tmp_path / "log").read_text() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "late" in (tmp_path / "log").read_text()


def test_closed_streams_leave_the_log(tmp_path):
    """The program is started without stdout and stderr; `program.run` opens both before anything else."""
    script = ("import os, sys\nfrom common.cli import program\nfrom common.run import opening\n"
              "def body(stop):\n"
              "    with opening.copy_output(sys.argv[1]):\n"
              "        os.write(1, b'out\\n'); os.write(2, b'error\\n'); print('from python')\n"
              "    return 0\n"
              "sys.exit(program.run(body))\n")
    closed = ["bash", "-c", 'exec "$0" "$@" >&- 2>&-', sys.executable, "-c", script, str(tmp_path / "log")]
    assert subprocess.call(closed, cwd=ROOT) == 0
    assert sorted((tmp_path / "log").read_text().split("\n")) == ["", "error", "from python", "out"]


def test_a_terminal_that_went_away_does_not_end_the_program(tmp_path):
    process = talk(tmp_path / "log", "sys.stdout.flush(); import time; time.sleep(0.3); print('still here')")
    process.stdout.close()
    process.stderr.read()
    process.wait()
    assert "still here" in (tmp_path / "log").read_text()
