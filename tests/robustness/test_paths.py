"""Every program works in folders of any name: patterns, blanks, quotes, other scripts, long names."""
from __future__ import annotations

import os

import pytest

from tests import ROOT, programs
from tests.robustness.programs import MODELS, make_data, run

NAMES = ("run[1]*?", "sp ace'q\"%s", "\u6c49\u5b57", "x" * 200)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_train_resume_evaluate_and_export_in_folders_of_any_name(model, tmp_path):
    """Trains in the first folder of all names below each other, and resumes, evaluates and exports there."""
    parent = os.path.join(str(tmp_path), *NAMES)
    os.makedirs(parent)
    data = make_data(model, os.path.join(parent, "data"))
    output = os.path.join(parent, "output")
    for steps in (2, 4):
        flags = (f"--data_path={data}", f"--output_path={output}", f"--train_steps={steps}", *model.flags)
        result = run(model, model.train, *flags)
        assert result.returncode == 0, result.stdout[-3000:]
    for program, *flags in model.evaluate:
        result = run(model, program, f"--output_path={output}", *(flag.format(data=data) for flag in flags))
        assert result.returncode == 0 and "damaged" not in result.stdout, result.stdout[-3000:]
    result = run(model, model.train, f"--data_path={data}", f"--output_path={output}2", "--train_steps=1",
                 f"--init_checkpoint={output}/0/ckpt/{_newest(os.path.join(output, '0', 'ckpt'))}", *model.flags)
    assert result.returncode == 0, result.stdout[-3000:]


def _newest(folder: str) -> str:
    return max(name for name in os.listdir(folder) if name.endswith(".index"))[:-len(".index")]


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_scripts_and_modelarts_in_folders_of_any_name(model, tmp_path):
    parent = os.path.join(str(tmp_path), *NAMES[:3])
    os.makedirs(parent)
    data = make_data(model, os.path.join(parent, "data"))
    flags = ("--train_steps=1", "--device=cpu", *model.flags)
    result = run(model, "modelarts_entry_acc.py", f"--data_url={data}", f"--train_url={parent}/train", *flags)
    assert result.returncode == 0, result.stdout[-3000:]
    script = os.path.join(ROOT, model.name, "test", "train_full_1p.sh")
    result = programs.run("bash", script, f"--data_path={data}", f"--output_path={parent}/output", *flags, timeout=900)
    assert result.returncode == 0, result.stdout[-3000:]
    for output in ("train", "output"):
        assert os.path.isfile(os.path.join(parent, output, "0", "metrics.jsonl"))
