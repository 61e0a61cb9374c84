"""What users' machines do to a training: each time it ends as it should, or in one line, and can be resumed."""
from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests import ROOT
from tests.conftest import on_the_default_leg
from tests.programs import environment
from tests.results import assert_same_variables, rows
from tests.robustness.programs import MODELS, make_data

# in `make test` the Git loss alone
EACH_MODEL = [pytest.param(model, id=model.name, marks=[] if model.name == "gitloss_tf1" else pytest.mark.slow)
              for model in MODELS]
EACH_MODEL_SLOWLY = [pytest.param(model, id=model.name, marks=pytest.mark.slow) for model in MODELS]
STEPS = 4
pytestmark = on_the_default_leg


class Subject:
    """A model with its data and the outcome of a training under good conditions."""

    def __init__(self, model, folder):
        self.model, self.folder = model, folder
        self.data = make_data(model, os.path.join(folder, "da\u00eft\u00e9"))
        assert self.train("plain").returncode == 0

    def command(self, output, steps=STEPS, data=None):
        entry = os.path.join(ROOT, self.model.name, self.model.train)
        return [entry, f"--data_path={data or self.data}", f"--output_path={os.path.join(self.folder, output)}",
                f"--train_steps={steps}", "--device=cpu", *self.model.flags]

    def start(self, command, prefix=(sys.executable,), **options):
        return subprocess.Popen([*prefix, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                **dict(dict(env=environment(), cwd=ROOT), **options))

    def train(self, output, prefix=(sys.executable,), steps=STEPS, data=None, **options):
        """Train; the result's stdout has both streams."""
        process = self.start(self.command(output, steps, data), prefix, **options)
        out, _ = process.communicate(timeout=300)
        return subprocess.CompletedProcess([], process.returncode, out.decode("utf-8", "replace"))

    def run(self, output):
        return os.path.join(self.folder, output, "0")

    def equals_plain(self, output):
        """The weights of a training must be those under good conditions."""
        assert_same_variables(self.run("plain"), self.run(output))


SUBJECTS: dict = {}


@pytest.fixture
def subject(request, tmp_path_factory):
    model = request.param
    if model.name not in SUBJECTS:
        SUBJECTS[model.name] = Subject(model, str(tmp_path_factory.mktemp(model.name)))
    return SUBJECTS[model.name]


def refused(result, status=1):
    """The one line of a program that failed as it should; TensorFlow's writer of events ends with a traceback."""
    own = result.stdout.replace("Exception in thread EventLoggerThread:\nTraceback", "")
    assert result.returncode == status and "Traceback" not in own, result.stdout[-2000:]
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("[Error]")]
    return line


@contextlib.contextmanager
def mounted(folder, options):
    """A small file system in memory."""
    os.makedirs(folder)
    result = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], stderr=subprocess.PIPE, text=True,
                            check=False)
    if result.returncode:
        pytest.skip(f"file systems may not be mounted here: {result.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("subject", EACH_MODEL_SLOWLY, indirect=True)
def test_a_full_disk(subject):
    """The run fails with one line; with more space the same command finishes it."""
    folder = os.path.join(subject.folder, "full")
    with mounted(folder, "size=300k"):
        line = refused(subject.train("full"))
        assert "space" in line or "cannot write" in line, line
        subprocess.run(["mount", "-o", "remount,size=2g", folder], check=True)
        assert subject.train("full").returncode == 0
        subject.equals_plain("full")


@pytest.mark.parametrize("subject", EACH_MODEL_SLOWLY, indirect=True)
def test_a_read_only_output(subject):
    folder = os.path.join(subject.folder, "readonly")
    with mounted(folder, "size=1m,ro"):
        assert "readonly" in refused(subject.train("readonly"))
    assert "cannot be created" in refused(subject.train("/proc/zoo"))


@pytest.mark.parametrize("subject", EACH_MODEL_SLOWLY, indirect=True)
def test_a_user_without_privileges(subject):
    """May not write to a folder of others; may train in a folder of their own, without a home."""
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is missing")
    prefix = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable)
    others = os.path.join(subject.folder, "others")
    os.makedirs(others)
    os.chmod(others, 0o555)
    assert "others" in refused(subject.train("others", prefix))
    assert subject.train("own", prefix, env=environment(HOME="/nonexistent")).returncode == 0
    subject.equals_plain("own")


BACKWARDS = ("import runpy, sys, time; ticks = iter(range(2 * 10 ** 9, 0, -1)); time.time = lambda: 1.0 * next(ticks); "
             "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')")


@pytest.mark.parametrize("subject", EACH_MODEL_SLOWLY, indirect=True)
@pytest.mark.parametrize("how", ["no HOME", "python -O", "locale C", "clock"])
def test_odd_environments(subject, how):
    """A training under them has the weights of any other."""
    variables, prefix = environment(), (sys.executable,)
    if how == "no HOME":
        variables.pop("HOME", None)
    elif how == "python -O":
        prefix = (sys.executable, "-O")
    elif how == "locale C":
        variables = {name: value for name, value in variables.items() if not name.startswith(("LC_", "LANG"))}
        variables.update(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    else:
        prefix = (sys.executable, "-c", BACKWARDS)
    result = subject.train(how, prefix, env=variables)
    assert result.returncode == 0, result.stdout[-2000:]
    subject.equals_plain(how)
    assert all(row["seconds"] >= 0 for row in rows(subject.run(how)))


@pytest.mark.parametrize("subject", EACH_MODEL, indirect=True)
def test_stdout_is_closed(subject):
    process = subject.start(subject.command("closed"), ("bash", "-c", 'exec "$0" "$@" >&- 2>&-', sys.executable))
    assert process.wait(300) == 0
    subject.equals_plain("closed")


@pytest.mark.parametrize("subject", EACH_MODEL_SLOWLY, indirect=True)
def test_two_runs_at_once(subject):
    """The second one is refused while the first one is there, even if it makes no progress."""
    first = subject.start(subject.command("twice"))
    _wait(first, lambda: os.path.exists(os.path.join(subject.run("twice"), "arguments.json")))
    first.send_signal(signal.SIGSTOP)
    try:
        assert "another run is using it" in refused(subject.train("twice"))
    finally:
        first.send_signal(signal.SIGCONT)
    first.communicate(timeout=300)
    assert first.returncode == 0
    subject.equals_plain("twice")


def _wait(process, condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0][-2000:]
        time.sleep(0.01)


@pytest.mark.parametrize("subject", EACH_MODEL_SLOWLY, indirect=True)
@pytest.mark.parametrize("how", ["vanish", "change"])
def test_data_that_vanish_or_change(subject, how):
    """During a run: it ends in one line, or does not need them any more; when they are back it is finished."""
    data, kept = os.path.join(subject.folder, f"data that {how}"), os.path.join(subject.folder, f"kept {how}")
    shutil.copytree(subject.data, data)
    shutil.copytree(subject.data, kept)
    plain = subject.train(f"{how} plain", steps=40, data=data)
    assert plain.returncode == 0
    process = subject.start(subject.command(how, 40, data))
    _wait(process, lambda: os.path.exists(os.path.join(subject.run(how), "metrics.jsonl")))
    process.send_signal(signal.SIGSTOP)
    if how == "vanish":
        shutil.rmtree(data)
    else:
        for base, _, names in os.walk(data):
            for name in names:
                with open(os.path.join(base, name), "r+b") as file:
                    file.write(b"damaged" * 9)
    process.send_signal(signal.SIGCONT)
    out, _ = process.communicate(timeout=300)
    assert process.returncode in (0, 1)
    if process.returncode:
        refused(subprocess.CompletedProcess([], 1, out.decode()))
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(kept, data)
        assert subject.train(how, steps=40, data=data).returncode == 0
    assert_same_variables(subject.run(f"{how} plain"), subject.run(how))


MEMORY_STEPS = 5000
GROWTH_MEGABYTES = 30


@pytest.mark.slow
@pytest.mark.parametrize("subject", EACH_MODEL_SLOWLY, indirect=True)
def test_memory_is_flat(subject):
    """From a fifth of 5,000 steps to their end."""
    command = [*subject.command("memory", MEMORY_STEPS), "--epochs=9999"]
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, env=environment(), cwd=ROOT)
    seen = {}
    while process.poll() is None:
        with contextlib.suppress(OSError, ValueError, IndexError):
            with open(os.path.join(subject.run("memory"), "metrics.jsonl"), "rb") as file:
                file.seek(-2000, os.SEEK_END)
                step = int(file.read().rpartition(b'"step": ')[2].split(b",")[0])
            with open(f"/proc/{process.pid}/statm", encoding="ascii") as file:
                seen[step] = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        time.sleep(0.2)
    assert process.returncode == 0
    early = max(size for step, size in seen.items() if step <= MEMORY_STEPS * 0.3)
    late = max(size for step, size in seen.items() if step >= MEMORY_STEPS * 0.8)
    print(f"{subject.model.name}: {late - early:+.0f} MB")
    assert late - early < GROWTH_MEGABYTES, seen
