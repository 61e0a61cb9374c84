"""Git loss through its real scripts: one run on an awkward path, and what goes wrong early."""
from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT

SCRIPT = os.path.join(ROOT, "gitloss_tf1", "test", "train_full_1p.sh")


def run(*arguments, cwd=ROOT, entry=("bash", SCRIPT), **environment):
    base = {key: value for key, value in os.environ.items() if key not in ("ASCEND_DEVICE_ID", "RANK_SIZE")}
    return subprocess.run([*entry, *arguments], cwd=str(cwd), env=dict(base, PYTHON=sys.executable, **environment),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300, check=False)


def git_status():
    command = ["git", "status", "--porcelain", "--ignored"]
    answer = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=False)
    return b"\n".join(line for line in answer.stdout.splitlines() if b"__pycache__" not in line)


def tree(folder):
    return {os.path.join(base, name): os.stat(os.path.join(base, name)).st_mtime_ns
            for base, _, names in os.walk(str(folder)) for name in names}


def test_one_run_touches_its_run_directory_alone(tmp_path, tiny_mnist_folder):
    home = tmp_path / "home"
    home.mkdir()
    data = home / "it's \"my\" $(touch pwned); 数据" / "MNIST" / "raw"
    shutil.copytree(tiny_mnist_folder, str(data))
    before, status = tree(tmp_path), git_status()
    result = run(f"--data_path={data.parent.parent}", f"--output_path={tmp_path / 'out'}", "--device", "cpu",
                 "--batch_size=8", "--train_steps=2", cwd=home, HOME=str(home))
    assert result.returncode == 0, result.stderr.decode()
    after = tree(tmp_path)
    new = {path for path in after if after[path] != before.get(path)}
    assert new and all(path.startswith(str(tmp_path / "out" / "0") + os.sep) for path in new), sorted(new)
    assert set(before) <= set(after)
    assert git_status() == status
    assert (tmp_path / "out" / "0" / "train_0.log").read_bytes() == result.stdout
    assert f"Python {sys.version.split()[0]} ({sys.executable})" in result.stdout.decode()


@pytest.mark.parametrize("arguments, environment, status, message", [
    (["--data_path"], {}, 1, '[Error] para "data_path" must be config'),
    (["--data_path="], {}, 1, '[Error] para "data_path" must be config'),
    (["--data_path=/no/such"], {}, 1, "--data_path=/no/such: not found"),
    (["--data_path={data}", "--dta_path=x"], {}, 2, "unknown flag --dta_path; did you mean --data_path?"),
    (["--data_path={data}"], {"ASCEND_DEVICE_ID": "../x"}, 1, "ASCEND_DEVICE_ID='../x'"),
])
def test_mistakes_are_one_line_and_leave_nothing(tmp_path, tiny_mnist_folder, arguments, environment, status, message):
    arguments = [argument.format(data=tiny_mnist_folder) for argument in arguments]
    result = run(*arguments, f"--output_path={tmp_path / 'out'}", **environment)
    assert result.returncode == status
    error = result.stderr.decode()
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("entry", ["gitloss.py", "gitloss_perf.py", "evaluate.py", "predict.py", "export.py"])
def test_help_needs_no_tensorflow(tmp_path, entry):
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('TensorFlow was imported')")
    result = run("--help", entry=(sys.executable, os.path.join(ROOT, "gitloss_tf1", entry)), cwd=tmp_path,
                 PYTHONPATH=str(tmp_path))
    assert result.returncode == 0 and b"--output_path: " in result.stdout
    assert "flags (--flag=value or --flag value):" in result.stdout.decode()


def test_two_runs_on_one_device_id(tmp_path, tiny_mnist_folder):
    """The second is refused while the first runs, also when it would set it aside; the first is not disturbed."""
    command = [f"--data_path={tiny_mnist_folder}", f"--output_path={tmp_path / 'out'}", "--device=cpu",
               "--batch_size=8", "--train_steps=3"]
    first = subprocess.Popen([sys.executable, os.path.join(ROOT, "gitloss_tf1", "gitloss.py"), *command],
                             stdout=subprocess.PIPE)
    while not (tmp_path / "out" / "0" / "arguments.json").exists():
        assert first.poll() is None
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)  # so that it does not end meanwhile
    second = run(*command, "--resume=never")
    first.send_signal(signal.SIGCONT)
    assert second.returncode == 1 and b"another run is using it" in second.stderr
    out, _ = first.communicate()
    assert first.returncode == 0 and b"Final Train Accuracy" in out
    assert os.listdir(str(tmp_path / "out")) == ["0"]


def test_modelarts_entries(tmp_path, tiny_mnist_folder):
    result = run(f"--data_url={tiny_mnist_folder}", f"--train_url={tmp_path / 'out'}", "--device=cpu", "--batch_size=8",
                 "--train_steps=2", "--num_gpus=1", cwd=tmp_path,
                 entry=(sys.executable, os.path.join(ROOT, "gitloss_tf1", "modelarts_entry_perf.py")))
    assert result.returncode == 0, result.stderr.decode()
    assert "Ignored, flags of the platform: --num_gpus=1" in result.stdout.decode()
    assert (tmp_path / "out" / "0" / "Gitloss_ID1277_for_TensorFlow_bs8_1p_perf.log").exists()


def test_modelarts_entry_without_the_repository(tmp_path):
    shutil.copy(os.path.join(ROOT, "gitloss_tf1", "modelarts_entry_acc.py"), str(tmp_path))
    result = run(entry=(sys.executable, str(tmp_path / "modelarts_entry_acc.py")), cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.decode() == "[Error] common/ is missing: upload the repository root as code directory\n"
