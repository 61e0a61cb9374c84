"""Making an environment: done once, and every failure is one clear line."""
from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests import ROOT
from tests.programs import one_line

SCRIPT = os.path.join(ROOT, "common", "shell", "make_venv.sh")
LEGS = os.path.join(ROOT, "tests", "run_all_legs.sh")
# An interpreter of which only the version, venv and pip are asked.
FAKE_PYTHON = """#!/bin/bash
case "$*" in
    *version_info*) echo {version} ;;
    "-m venv"*) {venv} ;;
    "-m pip"*) echo called >>"{log}"; {pip} ;;
    --version) echo Python {version} ;;
esac
"""
MAKE = 'mkdir -p "${@: -1}/bin" && cp "$0" "${@: -1}/bin/python" && touch "${@: -1}/pyvenv.cfg"'


@pytest.fixture
def place(tmp_path):
    """A folder with requirements and a PATH of its own, with the commands that the script uses and no Python."""
    (tmp_path / "requirements.txt").write_text("numpy\n")
    (tmp_path / "bin").mkdir()
    for name in ("bash", "cat", "df", "awk", "dirname", "mkdir", "cp", "touch", "grep", "tail", "sed", "env"):
        os.symlink(shutil.which(name), str(tmp_path / "bin" / name))
    return tmp_path


def add_python(place, name="python3.11", version="3.11", venv=MAKE, pip="exit 0"):
    path = place / "bin" / name
    path.write_text(FAKE_PYTHON.format(version=version, venv=venv, pip=pip, log=place / "pip.calls"))
    path.chmod(0o755)


def bash(place, *words, **environment):
    """Run a script with the commands of the folder alone."""
    return subprocess.run([shutil.which("bash"), *words], check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, env={"PATH": str(place / "bin"), "HOME": str(place), **environment})


def run(place, lowest="3.11", highest="3.13", **environment):
    return bash(place, SCRIPT, str(place / "venv"), lowest, highest, str(place / "requirements.txt"), **environment)


def test_it_is_made_once(place):
    add_python(place)
    first, second = run(place), run(place)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    assert "is ready" in first.stdout and "is up to date" in second.stdout
    assert (place / "pip.calls").read_text().count("called") == 1


def test_changed_requirements_are_installed(place):
    add_python(place)
    run(place)
    (place / "requirements.txt").write_text("numpy\nscipy\n")
    assert "is ready" in run(place).stdout
    assert (place / "pip.calls").read_text().count("called") == 2


def test_no_python(place):
    result = run(place)
    assert result.returncode == 3
    assert "Python 3.11 to 3.13 is needed, but was not found (python3 is missing)" in one_line(result.stderr)


def test_python_too_old_or_too_new(place):
    for version in ("3.10", "3.14", "2.7"):
        add_python(place, "python3", version)
        result = run(place)
        assert result.returncode == 3 and f"(python3 is {version})" in one_line(result.stderr)


def test_given_python_is_taken_or_refused(place):
    add_python(place)
    add_python(place, "mine", "3.9")
    result = run(place, PYTHON=str(place / "bin" / "mine"))
    assert result.returncode == 3 and "mine is 3.9" in one_line(result.stderr)


def test_pyenv_is_looked_at(place):
    folder = place / ".pyenv" / "versions" / "3.7.16" / "bin"
    folder.mkdir(parents=True)
    add_python(place, "python", "3.7")
    shutil.move(str(place / "bin" / "python"), str(folder / "python"))
    assert run(place, lowest="3.7", highest="3.7").returncode == 0


def test_no_space(place):
    add_python(place)
    os.remove(str(place / "bin" / "df"))
    (place / "bin" / "df").write_text("#!/bin/bash\necho Header; echo /dev/x 9 9 1048576 9% /\n")
    (place / "bin" / "df").chmod(0o755)
    result = run(place)
    assert result.returncode == 1 and "no space for" in one_line(result.stderr)
    assert not (place / "venv").exists()


def test_python_without_venv(place):
    add_python(place, venv="exit 1")
    assert "cannot create virtual environments" in one_line(run(place).stderr)


@pytest.mark.parametrize("words, message", [
    ("Max retries exceeded with url", "the package registry cannot be reached"),
    ("ERROR: Could not install: [Errno 28] No space left on device", "no space left while installing"),
    ("ERROR: conflicting dependencies", "pip failed: ERROR: conflicting dependencies"),
])
def test_pip_failures(place, words, message):
    add_python(place, pip=f"echo '{words}'; exit 1")
    result = run(place)
    assert result.returncode == 1 and message in one_line(result.stderr)
    assert "is ready" not in run(place).stdout  # and the next call tries again


def test_a_folder_that_is_not_an_environment_is_left_alone(place):
    add_python(place)
    (place / "venv").mkdir()
    (place / "venv" / "thesis.txt").write_text("mine")
    assert "is not a virtual environment: move it away" in one_line(run(place).stderr)
    assert os.listdir(str(place / "venv")) == ["thesis.txt"]


def test_a_leg_without_its_python_is_skipped_and_reported(place):
    result = bash(place, LEGS, "tf115", "tf26")
    assert result.returncode == 0
    assert result.stdout.splitlines()[-3:] == [
        "== legs", "leg tf115: SKIPPED, no Python 3.7 on this machine",
        "leg tf26: SKIPPED, no Python 3.9 on this machine"]


def test_a_leg_that_does_not_exist_is_refused(place):
    result = bash(place, LEGS, "tf99")
    assert result.returncode == 2 and "unknown leg tf99" in one_line(result.stderr)
