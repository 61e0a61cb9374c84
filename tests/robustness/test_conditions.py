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

of_each_model = pytest.mark.parametrize("subject", MODELS, ids=lambda model: model.name, indirect=True)
STEPS = 4
TIMEOUT = 900  # seconds, also on a machine that does much else
pytestmark = [pytest.mark.slow, on_the_default_leg]


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
        defaults = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment(), cwd=ROOT)
        return subprocess.Popen([*prefix, *command], **dict(defaults, **options))

    def train(self, output, prefix=(sys.executable,), steps=STEPS, data=None, **options):
        """Train; the result's stdout has both streams."""
        process = self.start(self.command(output, steps, data), prefix, **options)
        out, _ = process.communicate(timeout=TIMEOUT)
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
    """The one line of a program that failed as it should."""
    assert result.returncode == status and "Traceback" not in result.stdout, result.stdout[-2000:]
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


@of_each_model
def test_a_full_disk(subject):
    """The run fails with one line; with more space the same command finishes it."""
    folder = os.path.join(subject.folder, "full")
    with mounted(folder, "size=300k"):
        line = refused(subject.train("full"))
        assert "space" in line or "cannot write" in line, line
        subprocess.run(["mount", "-o", "remount,size=2g", folder], check=True)
        assert subject.train("full").returncode == 0
        subject.equals_plain("full")


@of_each_model
def test_a_read_only_output(subject):
    folder = os.path.join(subject.folder, "readonly")
    with mounted(folder, "size=1m,ro"):
        assert "readonly" in refused(subject.train("readonly"))
    assert "cannot be created" in refused(subject.train("/proc/zoo"))


@of_each_model
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


@of_each_model
def test_home_is_unset(subject):
    variables = environment()
    variables.pop("HOME", None)
    trains_as_ever(subject, "no HOME", env=variables)


@of_each_model
def test_python_without_asserts(subject):
    trains_as_ever(subject, "python -O", (sys.executable, "-O"))


@of_each_model
def test_locale_c(subject):
    variables = {name: value for name, value in environment().items() if not name.startswith(("LC_", "LANG"))}
    variables.update(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    trains_as_ever(subject, "locale C", env=variables)


@of_each_model
def test_clock_goes_backwards(subject):
    trains_as_ever(subject, "clock", (sys.executable, "-c", BACKWARDS))


def trains_as_ever(subject, output, prefix=(sys.executable,), **options):
    """A training has the weights of one under good conditions, and durations that are possible."""
    result = subject.train(output, prefix, **options)
    assert result.returncode == 0, result.stdout[-2000:]
    subject.equals_plain(output)
    assert all(row["seconds"] >= 0 for row in rows(subject.run(output)))


@of_each_model
def test_stdout_is_closed(subject):
    process = subject.start(subject.command("closed"), ("bash", "-c", 'exec "$0" "$@" >&- 2>&-', sys.executable))
    assert process.wait(TIMEOUT) == 0
    subject.equals_plain("closed")


@of_each_model
def test_two_runs_at_once(subject):
    """The second one is refused while the first one is there, even if it makes no progress."""
    first = subject.start(subject.command("twice"))
    _wait(first, lambda: os.path.exists(os.path.join(subject.run("twice"), "arguments.json")))
    first.send_signal(signal.SIGSTOP)
    try:
        assert "another run is using it" in refused(subject.train("twice"))
    finally:
        first.send_signal(signal.SIGCONT)
    first.communicate(timeout=TIMEOUT)
    assert first.returncode == 0
    subject.equals_plain("twice")


def _wait(process, condition):
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0][-2000:]
        time.sleep(0.01)


LONG = 20  # steps, so that data are needed after the first one


@of_each_model
def test_data_that_vanish(subject):
    spoil_the_data(subject, "vanish", shutil.rmtree)


@of_each_model
def test_data_that_change(subject):
    spoil_the_data(subject, "change", _overwrite)


def spoil_the_data(subject, output, spoil):
    """A run ends in one line, or does not need its data any more; when they are back it is finished."""
    data = shutil.copytree(subject.data, os.path.join(subject.folder, f"data of {output}"))
    if not os.path.exists(subject.run("long")):
        assert subject.train("long", steps=LONG).returncode == 0
    process = subject.start(subject.command(output, LONG, data))
    _wait(process, lambda: os.path.exists(os.path.join(subject.run(output), "metrics.jsonl")))
    process.send_signal(signal.SIGSTOP)
    spoil(data)
    process.send_signal(signal.SIGCONT)
    out, _ = process.communicate(timeout=TIMEOUT)
    if process.returncode:
        refused(subprocess.CompletedProcess([], process.returncode, out.decode()))
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(subject.data, data)
        assert subject.train(output, steps=LONG, data=data).returncode == 0
    assert_same_variables(subject.run("long"), subject.run(output))


def _overwrite(folder):
    for base, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(base, name), "r+b") as file:
                file.write(b"damaged" * 9)


MEMORY_STEPS = 5000
GROWTH_MEGABYTES = 30
MEMORY_FLAGS = {  # several epochs and evaluations; few images in a step
    "circleloss_tf1": ("--epoch_size=250",), "gitloss_tf1": ("--batch_size=4", "--update_centers=500"),
    "sa_siam_tf1": ("--batch_size=1", "--num_examples_per_epoch=1000")}
NARROW = """if True:
    import runpy, sys
    from tests.graph.sa_siam_tf1.narrow import make_narrow
    make_narrow()
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


@of_each_model
def test_memory_is_flat(subject, record_property):
    """From a third of 5,000 steps to their end; epochs end, checkpoints are saved and evaluations made meanwhile."""
    name = subject.model.name
    prefix = (sys.executable, "-c", NARROW) if name == "sa_siam_tf1" else (sys.executable,)
    command = [*subject.command("memory", MEMORY_STEPS), "--epochs=9999", *MEMORY_FLAGS.get(name, ())]
    process = subject.start(command, prefix, stdout=subprocess.DEVNULL)
    megabytes = {}
    while process.poll() is None:
        with contextlib.suppress(OSError, ValueError, IndexError):
            step = _last_step(os.path.join(subject.run("memory"), "metrics.jsonl"))
            with open(f"/proc/{process.pid}/statm", encoding="ascii") as file:
                megabytes[step] = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        time.sleep(0.2)
    assert process.returncode == 0
    early = max(size for step, size in megabytes.items() if step <= MEMORY_STEPS * 0.3)
    late = max(size for step, size in megabytes.items() if step >= MEMORY_STEPS * 0.8)
    record_property("note", f"{late - early:+.0f} MB to {late:.0f} MB")
    assert late - early < GROWTH_MEGABYTES, megabytes


def _last_step(path):
    with open(path, "rb") as file:
        file.seek(-2000, os.SEEK_END)
        return int(file.read().rpartition(b'"step": ')[2].split(b",")[0])
