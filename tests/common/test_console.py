"""What a person sees on a terminal, and what scripts read from a pipe or a log."""
from __future__ import annotations

import os
import re
import sys

import pytest

from common import console
from tests import programs, terminal

RUN = """
import sys, time
from common import console
from common.run import opening
with opening.copy_output(sys.argv[1], is_verbose="verbose" in sys.argv):
    print("Recipe: " + ", ".join("switch%d=off" % number for number in range(12)))
    console.detail("step 1, loss 0.123")
    console.detail(".", end="")
    with console.Progress("training", 3, "step") as shown:
        for step in range(1, 4):
            time.sleep(0.25)
            shown.update(step, "loss 0.5000")
            print("after", step)
            print("a warning", file=sys.stderr)
    console.detail(".")
print("the end")
"""
PROGRAM = """
import sys, time
from common import console
from common.cli import program
from common.errors import ZooError
console._BAR_DELAY_SECONDS = 0.1

@program.entry
def main(arguments, stop):
    for number in console.progress(range(4), "reading", "file"):
        time.sleep(0.25)
        if number == 2 and arguments:
            raise ZooError("a file is damaged")
    print("done")
    return 0

sys.exit(main())
"""
RECIPE = "Recipe: " + ", ".join(f"switch{number}=off" for number in range(12))


def test_a_run_on_a_terminal_shows_a_bar_and_logs_the_lines_of_scripts(tmp_path):
    shown = terminal.run(sys.executable, "-c", RUN, tmp_path / "log")
    assert shown.status == 0
    head = shown.lines.index("after 1")
    assert " ".join(line.strip() for line in shown.lines[:head]) == RECIPE
    assert [line for line in shown.lines[head:] if line] == ["after 1", "a warning", "after 2", "a warning", "after 3",
                                                             "a warning", "the end"]
    assert any("training:  67%|" in bar and "2/3 [" in bar and "step/s, loss 0.5000]" in bar for bar in shown.bars)
    assert all(len(line) <= 80 for line in (*shown.lines, *shown.bars))
    log = (tmp_path / "log").read_text()
    assert [line for line in log.splitlines() if line not in ("after 1", "after 2", "after 3", "a warning")] == [
        RECIPE, "step 1, loss 0.123", ".."]


def test_verbose_shows_the_lines_of_scripts_too(tmp_path):
    shown = terminal.run(sys.executable, "-c", RUN, tmp_path / "log", "verbose")
    assert "step 1, loss 0.123" in shown.lines and shown.bars
    assert "step 1, loss 0.123" in (tmp_path / "log").read_text().splitlines()


def test_a_pipe_gets_what_the_log_gets(tmp_path):
    result = programs.run_python("-c", RUN, tmp_path / "log")
    assert result.stdout.splitlines() == [RECIPE, "step 1, loss 0.123", ".after 1", "after 2", "after 3", ".",
                                          "the end"]
    log = (tmp_path / "log").read_text()
    assert all(line in log for line in result.stdout.splitlines()[:-1]) and "\x1e" not in log and "\x1d" not in log


@pytest.mark.parametrize("script, stream", [(RUN, "stdout"), (PROGRAM, "stderr")])
def test_plain_lines_say_how_far_long_work_is(tmp_path, script, stream):
    hasty = "from common import console\nconsole._FIRST_LINE_SECONDS = 0.1\n"
    result = programs.run_python("-c", hasty + script, *([tmp_path / "log"] if script == RUN else []))
    lines = [line.lstrip(".") for line in getattr(result, stream).splitlines() if " of " in line]
    what, total = (r"training: 1 of 3, loss 0\.5000", 3) if script == RUN else ("reading: 1 of 4", 4)
    assert re.fullmatch(rf"{what}, [0-9.]+ (step|file)/s, [01] s left", lines[0])
    assert len(lines) < total, "the interval grows"


def test_a_program_removes_its_bar():
    shown = terminal.run(sys.executable, "-c", PROGRAM)
    assert any("reading:  50%|" in bar and "file/s]" in bar for bar in shown.bars)
    assert [line for line in shown.lines if line] == ["done"]


STAGES = """
import sys, time
from common import console
from common.checkpoints import exporting
shown = exporting.Stages(exporting.Target("", "net"))
with console.noise_hidden(), shown:
    for name in ("graph", "model", "check"):
        shown.begin(name)
        time.sleep(0.1)
        print("a warning of", name, file=sys.stderr)
print("done")
"""


def test_stages_are_named_as_they_begin_also_where_stderr_is_captured():
    shown = terminal.run(sys.executable, "-c", STAGES)
    assert [bar.rpartition(", ")[2] for bar in dict.fromkeys(shown.bars) if "," in bar] == [
        "? step/s]", "graph]", "model]", "check]"]
    assert any("exporting net:  33%|" in bar and " 1/3 [" in bar for bar in shown.bars)
    assert [line for line in shown.lines if line] == [
        "a warning of graph", "a warning of model", "a warning of check", "done"]
    piped = programs.run_python("-c", STAGES)
    assert (piped.stdout, piped.stderr) == ("done\n", "a warning of graph\na warning of model\na warning of check\n")


def test_an_error_takes_the_place_of_the_bar():
    shown = terminal.run(sys.executable, "-c", PROGRAM, "fail")
    assert shown.status == 1 and shown.bars
    assert [line for line in shown.lines if line] == ["[Error] a file is damaged"]


def test_without_tqdm_there_are_plain_lines(tmp_path):
    hasty = "from common import console\nconsole._FIRST_LINE_SECONDS = 0.1\nimport sys; sys.modules['tqdm'] = None\n"
    shown = terminal.run(sys.executable, "-c", hasty + PROGRAM)
    assert not shown.bars
    assert shown.lines[0].startswith("reading: 1 of 4, ") and shown.lines[0].endswith(" left")


def test_notices_and_errors_are_folded_between_words_and_paths_keep_their_indentation():
    path = f"  /{'long' * 20}"
    script = (f"import sys; from common import console; console.notice({'Notice: ' + 'word ' * 20 + 'end'!r}); "
              f"print(console.fold({'Written:' + chr(10) + path!r}, sys.stdout))")
    shown = terminal.run(sys.executable, "-c", script)
    assert shown.lines[:2] == ["Notice: " + " ".join(["word"] * 14), "    " + "word " * 6 + "end"]
    assert shown.lines[2:4] == ["Written:", path]
    failed = terminal.run(sys.executable, "-c", PROGRAM.replace("a file is damaged", "word " * 20), "fail")
    assert [line for line in failed.lines if line] == ["[Error] " + " ".join(["word"] * 14),
                                                       "    " + "word " * 5 + "word"]


def test_only_known_lines_are_dropped(capfd):
    lines = [b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
             b"I0000 00:00:1795667569.270779   17092 port.cc:153] oneDNN custom operations are on.",
             b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.",
             b"2026-11-26 09:37:03.780966: E common_shape_fns.cc:12] NodeDef mentions attribute Truncate which is",
             b"E0000 00:00:1795667569.270779   17092 port.cc:153] an error", b"[Error] ours"]
    with console.noise_hidden():
        os.write(2, b"\n".join(lines) + b"\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err.encode().splitlines() == [*lines[4:], b"after"]


def test_an_error_of_the_import_is_shown(capfd):
    try:
        with console.noise_hidden():
            os.write(2, b"cannot open shared object\n")
            raise ImportError("no")
    except ImportError:
        pass
    assert capfd.readouterr().err == "cannot open shared object\n"


IMPORT_AND_LEAVE = """
import importlib, os, sys
from common.devices import selection
selection.choose("cpu", os.environ)
importlib.import_module(sys.argv[1])
os._exit("matplotlib" in sys.modules)
"""


@pytest.mark.parametrize("module", ["common.graph.compat", "common.keras.session"])
def test_importing_tensorflow_is_silent_and_leaves_no_file_even_in_a_process_that_does_not_clean_up(tmp_path, module):
    """With oneDNN as on the CPUs where it is the default."""
    if module == "common.keras.session" and sys.version_info < (3, 8):
        pytest.skip("TensorFlow 1.15 is for graph models")
    result = programs.run_python("-c", IMPORT_AND_LEAVE, module, TF_ENABLE_ONEDNN_OPTS="1", HOME=str(tmp_path),
                                 TMPDIR=str(tmp_path))
    assert (result.returncode, result.stderr, os.listdir(str(tmp_path))) == (0, "", [])
