"""The Siamese network through its real scripts: one run on an awkward path, and what goes wrong early."""
from __future__ import annotations

import os
import shutil
import sys

import pytest

from common.tiny_data import omniglot as tiny_omniglot
from tests.conftest import ROOT
from tests.shell.test_gitloss_scripts import git_status, run, tree
from tests.test_architecture import runs_here

MODEL = os.path.join(ROOT, "siamese_omniglot")
FULL, PERFORMANCE, EIGHT = (("bash", os.path.join(MODEL, "test", f"train_{name}.sh")) for name in (
    "full_1p", "performance_1p", "full_8p"))
needs_keras = pytest.mark.skipif(not runs_here("siamese_omniglot"), reason="needs TensorFlow 2.6 or newer")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny_omniglot")
    tiny_omniglot.make(str(folder), 3, 5, 8)
    return folder


@needs_keras
def test_one_run_touches_its_run_directory_alone(tmp_path, data):
    home = tmp_path / "home"
    home.mkdir()
    awkward = home / "it's \"my\" $(touch pwned); 数据"
    shutil.copytree(str(data), str(awkward))
    before, status = tree(tmp_path), git_status()
    result = run(f"--data_path={awkward}", f"--output_path={tmp_path / 'out'}", "--device", "cpu", "--batch_size=8",
                 "--train_steps=2", "--backbone=conv4", cwd=home, HOME=str(home), entry=FULL)
    assert result.returncode == 0, result.stderr.decode()
    after = tree(tmp_path)
    new = {path for path in after if after[path] != before.get(path)}
    assert new and all(path.startswith(str(tmp_path / "out" / "0") + os.sep) for path in new), sorted(new)
    assert set(before) <= set(after)
    assert git_status() == status
    out = result.stdout.decode()
    said = result.stderr.decode().splitlines()  # on a slow machine matplotlib asks for patience
    log = (tmp_path / "out" / "0" / "train_0.log").read_text().splitlines()
    assert [line for line in log if line not in said] == out.splitlines()
    assert out.splitlines()[-1] == f"Logs and weights: {tmp_path / 'out' / '0' / 'logs'}"


@needs_keras
def test_eight_processes_by_flag(tmp_path, data):
    """The script's 8 are the default; a flag of the user wins."""
    result = run(f"--data_path={data}", f"--output_path={tmp_path / 'out'}", "--device=cpu", "--batch_size=4",
                 "--train_steps=1", "--backbone=conv4", "--nproc_per_node=2", "--performance", entry=EIGHT)
    assert result.returncode == 0, result.stderr.decode()
    assert (tmp_path / "out" / "0" / "Siamese_bs4_2p_perf.log").exists()
    assert run(f"--data_path={data}", "--batch_size=4", entry=EIGHT).stderr.decode().startswith(
        "[Error] --batch_size=4: is that of all 8 processes together")


@needs_keras
def test_modelarts_entry(tmp_path, data):
    result = run(f"--data_url={data}", f"--train_url={tmp_path / 'out'}", "--device=cpu", "--batch_size=8",
                 "--train_steps=2", "--backbone=conv4", "--num_gpus=1", cwd=tmp_path,
                 entry=(sys.executable, os.path.join(MODEL, "modelarts_entry_perf.py")))
    assert result.returncode == 0, result.stderr.decode()
    assert "Ignored, flags of the platform: --num_gpus=1" in result.stdout.decode()
    assert (tmp_path / "out" / "0" / "Siamese_bs8_1p_perf.log").exists()


@pytest.mark.parametrize("arguments, status, message", [
    (["--data_path"], 1, '[Error] para "data_path" must be config'),
    (["--data_path=/no/such"], 1, "--data_path=/no/such: not found"),
    (["--data_path={data}", "--lrr=x"], 2, "unknown flag --lrr; did you mean --lr?"),
    (["--data_path={data}", "--distributed=maybe"], 2, "expected true or false"),
])
def test_mistakes_are_one_line_and_leave_nothing(tmp_path, data, arguments, status, message):
    arguments = [argument.format(data=data) for argument in arguments]
    result = run(*arguments, f"--output_path={tmp_path / 'out'}", entry=PERFORMANCE)
    assert result.returncode == status
    error = result.stderr.decode()
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("entry", ["run_scripts/run_siamese_train.py", "evaluate.py", "predict.py", "export.py"])
def test_help_needs_no_tensorflow(tmp_path, entry):
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('TensorFlow was imported')")
    result = run("--help", entry=(sys.executable, os.path.join(MODEL, entry)), cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert result.returncode == 0 and b"--output_path: " in result.stdout


def test_modelarts_entry_without_the_repository(tmp_path):
    shutil.copy(os.path.join(MODEL, "modelarts_entry_acc.py"), str(tmp_path))
    result = run(entry=(sys.executable, str(tmp_path / "modelarts_entry_acc.py")), cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.decode() == "[Error] common/ is missing: upload the repository root as code directory\n"
