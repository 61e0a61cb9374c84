"""Circle loss through its real scripts: one run on an awkward path, help, ModelArts."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.shell.test_gitloss_scripts import git_status, run, tree

MODEL = os.path.join(ROOT, "circleloss_tf1")


def test_one_run_touches_its_run_directory_alone(tmp_path, tiny_faces_folder):
    home = tmp_path / "home"
    home.mkdir()
    data = home / "it's \"my\" $(touch pwned); 数据" / "dataset"
    shutil.copytree(tiny_faces_folder, str(data))
    shutil.copy(str(data / "pairs.txt"), str(data / "lfw-deepfunneled_align"))
    before, status = tree(tmp_path), git_status()
    result = run(f"--data_path={data.parent}", f"--output_path={tmp_path / 'out'}", "--device", "cpu", "--batch_size=4",
                 "--train_steps=1", "--model_def=models.resnet10", cwd=home, HOME=str(home),
                 entry=("bash", os.path.join(MODEL, "test", "train_full_1p.sh")))
    assert result.returncode == 0, result.stderr.decode()
    after = tree(tmp_path)
    new = {path for path in after if after[path] != before.get(path)}
    assert new and all(path.startswith(str(tmp_path / "out" / "0") + os.sep) for path in new), sorted(new)
    assert set(before) <= set(after) and git_status() == status
    assert (tmp_path / "out" / "0" / "train_0.log").read_bytes() == result.stdout


@pytest.mark.parametrize("entry", ["train_acc.py", "train_perf.py", "evaluate.py", "predict.py", "export.py",
                                   "ckpt2pb.py"])
def test_help_needs_no_tensorflow(tmp_path, entry):
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('TensorFlow was imported')")
    result = run("--help", entry=(sys.executable, os.path.join(MODEL, entry)), cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert result.returncode == 0 and b"--output_path: " in result.stdout


def test_modelarts_entries(tmp_path, tiny_faces_folder):
    result = run(f"--data_url={tiny_faces_folder}", f"--train_url={tmp_path / 'out'}", "--device=cpu", "--batch_size=4",
                 "--train_steps=2", "--model_def=models.resnet10", "--job_name=1", cwd=tmp_path,
                 entry=(sys.executable, os.path.join(MODEL, "modelarts_entry_perf.py")))
    assert result.returncode == 0, result.stderr.decode()
    assert "Ignored, flags of the platform: --job_name=1" in result.stdout.decode()
    assert (tmp_path / "out" / "0" / "CircleLoss_ID1221_for_TensorFlow_bs4_1p_perf.log").exists()


def test_modelarts_entry_without_the_repository(tmp_path):
    shutil.copy(os.path.join(MODEL, "modelarts_entry_acc.py"), str(tmp_path))
    result = subprocess.run([sys.executable, str(tmp_path / "modelarts_entry_acc.py")], stderr=subprocess.PIPE,
                            check=False)
    assert result.returncode == 1 and b"upload the repository root as code directory" in result.stderr
