"""The scripts behind every model: they hand on what they were given, and what became of it."""
from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from tests import ROOT, programs
from tests.programs import one_line

# Stands in for a train entry: says what it got, then does what $STUB says.
STUB = """
import json, os, signal, sys, time
print("ARGUMENTS", json.dumps(sys.argv[1:]), flush=True)
names = ("ASCEND_DEVICE_ID", "RANK_ID", "RANK_SIZE", "JOB_ID")
print("ENVIRONMENT", json.dumps({name: os.environ.get(name) for name in names}), flush=True)
exec(os.environ.get("STUB", ""))
"""
AWKWARD = ["with space", "it's", 'say "hi"', "$(touch pwned)", "`touch pwned`", "a;touch pwned", "数据", "-dash", "*",
           "a&b|c", "back\\slash", "trailing "]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """The real scripts and library around a stub entry."""
    root = tmp_path_factory.mktemp("the zoo")
    shutil.copytree(os.path.join(ROOT, "common", "shell"), str(root / "common" / "shell"))
    shutil.copytree(os.path.join(ROOT, "gitloss_tf1", "test"), str(root / "gitloss_tf1" / "test"),
                    ignore=shutil.ignore_patterns("output"))
    (root / "gitloss_tf1" / "gitloss.py").write_text(STUB)
    return root


def run(zoo, *arguments, script="train_full_1p.sh", cwd=None, path=None, **variables):
    """Run a script of the stub's model outside of any active environment."""
    active = dict.fromkeys(("VIRTUAL_ENV", "CONDA_PREFIX"), "")
    return programs.run("bash", path or zoo / "gitloss_tf1" / "test" / script, *arguments, cwd=cwd or zoo,
                        **dict(active, **variables))


def said(result, what):
    (line,) = [line for line in result.stdout.splitlines() if line.startswith(what + " ")]
    return json.loads(line[len(what) + 1:])


@pytest.mark.parametrize("value", AWKWARD)
def test_values_arrive_as_they_were_written(zoo, value):
    result = run(zoo, f"--data_path=/d/{value}", f"--data_path={value}", "--batch_size", "4")
    assert result.returncode == 0
    assert said(result, "ARGUMENTS") == [f"--data_path=/d/{value}", f"--data_path={value}", "--batch_size", "4"]
    assert not [name for name in os.listdir(str(zoo)) if name == "pwned"]


def test_performance_script_is_the_same_program(zoo):
    result = run(zoo, "--data_path=/d", script="train_performance_1p.sh")
    assert said(result, "ARGUMENTS") == ["--performance", "--data_path=/d"]


def test_defaults_of_the_environment(zoo):
    assert said(run(zoo), "ENVIRONMENT") == dict(ASCEND_DEVICE_ID="0", RANK_ID="0", RANK_SIZE="1", JOB_ID="10087")
    empty = run(zoo, ASCEND_DEVICE_ID="", RANK_SIZE="")
    assert said(empty, "ENVIRONMENT")["ASCEND_DEVICE_ID"] == "0"
    given = run(zoo, ASCEND_DEVICE_ID="3", RANK_SIZE="8")
    assert said(given, "ENVIRONMENT")["ASCEND_DEVICE_ID"] == "3" and said(given, "ENVIRONMENT")["RANK_SIZE"] == "8"


@pytest.mark.parametrize("where", ["model root", "test folder", "absolute", "elsewhere", "symbolic link"])
def test_started_from_anywhere(zoo, tmp_path, where):
    model = zoo / "gitloss_tf1"
    cwd, path = {"model root": (model, "test/train_full_1p.sh"), "test folder": (model / "test", "train_full_1p.sh"),
                 "absolute": (tmp_path, str(model / "test" / "train_full_1p.sh")),
                 "elsewhere": (tmp_path, os.path.relpath(str(model / "test" / "train_full_1p.sh"), str(tmp_path))),
                 "symbolic link": (tmp_path, "link/test/train_full_1p.sh")}[where]
    if where == "symbolic link":
        os.symlink(str(model), str(tmp_path / "link"))
    result = run(zoo, "--data_path=x", cwd=cwd, path=path, CDPATH="/usr")
    assert result.returncode == 0, result.stderr
    assert said(result, "ARGUMENTS") == ["--data_path=x"]


@pytest.mark.parametrize("stub, status", [
    ("sys.exit(0)", 0), ("sys.exit(1)", 1), ("sys.exit(2)", 2), ("raise RuntimeError", 1), ("sys.exit(143)", 143),
    ("os.kill(os.getpid(), signal.SIGKILL)", 137), ("os.abort()", 134),
    ("os.write(1, bytes(range(256)) * 40); sys.exit(5)", 5),
    ("print('Final Train Accuracy : 1.0'); sys.exit(9)", 9),
])
def test_status_is_the_program_s(zoo, stub, status):
    assert run(zoo, "--data_path=x", STUB=stub).returncode == status


def test_sigterm_reaches_the_program_and_its_status_comes_back(zoo):
    stub = ("signal.signal(signal.SIGTERM, lambda *a: (print('saved', flush=True), sys.exit(143))); "
            "print('ready', flush=True); time.sleep(60)")
    process = subprocess.Popen(["bash", str(zoo / "gitloss_tf1" / "test" / "train_full_1p.sh")], stdout=subprocess.PIPE,
                               env=dict(os.environ, PYTHON=sys.executable, STUB=stub))
    while b"ready" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 143 and b"saved" in out


@pytest.mark.parametrize("to_group", [True, False])
def test_ctrl_c_reaches_the_program_even_before_it_listens(zoo, to_group):
    """A terminal signals the group, a scheduler perhaps the script alone; the stub listens only after a second."""
    stub = ("print('ready', flush=True); time.sleep(1); "
            "signal.signal(signal.SIGINT, lambda *a: (print('heard', flush=True), sys.exit(130))); time.sleep(60)")
    # a parent may ignore SIGINT, which children inherit and bash cannot undo
    command = ["env", "--default-signal=INT", "bash", str(zoo / "gitloss_tf1" / "test" / "train_full_1p.sh")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=dict(os.environ, PYTHON=sys.executable, STUB=stub),
                               start_new_session=True)
    while b"ready" not in process.stdout.readline():
        pass
    (os.killpg if to_group else os.kill)(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130 and b"heard" in out


def test_interpreter_that_does_not_exist(zoo):
    result = run(zoo, PYTHON="/no/such/python")
    assert result.returncode == 1 and "/no/such/python is not a working Python interpreter" in one_line(result.stderr)


def test_interpreter_without_tensorflow(zoo, tmp_path):
    """An interpreter that sees no site-packages."""
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "$@"\n')
    bare.chmod(0o755)
    result = run(zoo, "--data_path=x", PYTHON=str(bare))
    assert result.returncode == 1 and "ARGUMENTS" not in result.stdout
    assert "make setup" in one_line(result.stderr)


def test_active_environment_comes_before_the_repository_s(zoo, tmp_path):
    for folder in (tmp_path / "active" / "bin", zoo / ".venv" / "bin"):
        folder.mkdir(parents=True)
        python = folder / "python"
        python.write_text(f'#!/bin/sh\necho "TAKEN $0" >&2\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
    path = f"{tmp_path / 'active' / 'bin'}:{os.environ['PATH']}"
    active = run(zoo, PYTHON="", VIRTUAL_ENV=str(tmp_path / "active"), PATH=path)
    assert f"TAKEN {tmp_path}/active/bin/python" in active.stderr
    own = run(zoo, PYTHON="")
    assert f"TAKEN {zoo}/.venv/bin/python" in own.stderr
    shutil.rmtree(str(zoo / ".venv"))


def test_without_common_there_is_one_line(zoo, tmp_path):
    shutil.copytree(str(zoo / "gitloss_tf1"), str(tmp_path / "gitloss_tf1"))
    result = run(zoo, path=str(tmp_path / "gitloss_tf1" / "test" / "train_full_1p.sh"))
    assert result.returncode == 1
    assert result.stderr == "[Error] common/ is missing: upload the repository root as code directory\n"


def test_values_set_in_the_script_come_before_the_command_line(zoo, tmp_path):
    shutil.copytree(str(zoo), str(tmp_path / "zoo"))
    script = tmp_path / "zoo" / "gitloss_tf1" / "test" / "train_full_1p.sh"
    script.write_text(script.read_text().replace("data_path= ", 'data_path="/my data" ').replace("train_steps= ",
                                                                                                "train_steps=7 "))
    result = run(zoo, "--train_steps=9", path=str(script))
    assert said(result, "ARGUMENTS") == ["--data_path=/my data", "--train_steps=7", "--train_steps=9"]
