"""SA-Siam through its real scripts: from raw videos to a tracked one, and what goes wrong early."""
from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from common.tiny_data import tracking
from tests.conftest import ROOT

MODEL = os.path.join(ROOT, "sa_siam_tf1")


def run(*command, cwd=ROOT, **environment):
    base = {key: value for key, value in os.environ.items() if key not in ("ASCEND_DEVICE_ID", "RANK_SIZE")}
    return subprocess.run([str(word) for word in command], cwd=str(cwd),
                          env=dict(base, PYTHON=sys.executable, **environment), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=300, check=False, text=True)


def run_program(name, *arguments, **environment):
    """Run a program of the model by its path."""
    return run(sys.executable, os.path.join(MODEL, name), *arguments, **environment)


@pytest.mark.slow
def test_from_raw_videos_to_a_tracked_one(tmp_path):
    """The README's way, on an awkward path: crops, index, training, tracking."""
    folder = tmp_path / "it's $(touch pwned); 视频"
    tracking.make(str(folder), num_videos=2, num_frames=3, num_sequences=1)
    curated, output = folder / "cut" / "ILSVRC2015-VID-Curation", tmp_path / "out"
    for name, arguments in (
            ("scripts/preprocess_VID_data.py", [f"--data_path={folder}", f"--save_path={curated}"]),
            ("scripts/build_VID2015_imdb.py", [f"--data_path={curated.parent}"])):
        result = run_program(name, *arguments)
        assert result.returncode == 0, result.stderr
    result = run("bash", os.path.join(MODEL, "test", "train_full_1p.sh"), f"--data_path={curated.parent}",
                 f"--output_path={output}", "--device", "cpu", "--batch_size=1", "--steps=1", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "2 tracks" not in result.stdout and "1 tracks to train on, 1 to validate with" in result.stdout
    assert (output / "0" / "train_0.log").read_text() == result.stdout
    result = run_program("inference/track.py", f"--sequence={folder / 'OTB' / 'Drawn1'}", f"--output_path={output}",
                         "--annotate=gif", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["frames"] == 3
    assert not list(tmp_path.rglob("pwned")) and not os.path.exists(os.path.join(ROOT, "pwned"))


@pytest.mark.parametrize("arguments, environment, status, message", [
    (["--data_path={data}", "--brnch=x"], {}, 2, "unknown flag --brnch; did you mean --branch?"),
    (["--data_path={data}", "--branch=both"], {}, 2, "--branch"),
    (["--data_path={data}", "--compute_dtype=bfloat16"], {}, 2, "SA-Siam trains in float32"),
    (["--data_path={data}"], {"RANK_SIZE": "8"}, 1, "single-device model"),
])
def test_mistakes_are_one_line_and_leave_nothing(tmp_path, arguments, environment, status, message):
    data = tmp_path / "data"
    data.mkdir()
    (data / "videos.tar").touch()
    arguments = [argument.format(data=data) for argument in arguments]
    result = run("bash", os.path.join(MODEL, "test", "train_full_1p.sh"), *arguments,
                 f"--output_path={tmp_path / 'out'}", **environment)
    assert result.returncode == status
    assert message in result.stderr and result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_generated_configuration(tmp_path):
    result = run_program("experiments/gen-sa-siam-cfg.py", f"--output_path={tmp_path}")
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "SA-Siam" / "model_config.json").read_text())["branch"] == "both"
    assert json.loads((tmp_path / "SA-Siam" / "track_config.json").read_text())["scale_step"] == 1.0375
