"""The quick start: every model learns, and a person sees it on a terminal of 80 columns."""
from __future__ import annotations

import json
import os
import re
import sys

import pytest

import quickstart
from common.errors import ZooError
from tests import ROOT, terminal
from tests.conftest import on_the_default_leg

MODEL = quickstart.MODELS[1]


def run_of(folder, losses, accuracy):
    """Write the files of a finished run of MODEL."""
    rows = [dict(kind="step", step=step, loss=loss) for step, loss in enumerate(losses, 1)]
    rows += [dict(kind="eval", step=len(losses), valid_accuracy=accuracy),
             dict(kind="final", step=len(losses), device="cpu", images_per_second=12.3)]
    (folder / "evaluate").mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps(dict(row, seconds=0.0)) + "\n" for row in rows))
    (folder / "evaluate" / "evaluation.json").write_text("{}")
    return quickstart.Result.read(MODEL, str(folder))


def test_a_model_that_learns(tmp_path):
    result = run_of(tmp_path, [4.0] * 10 + [1.0] * 10, 0.75)
    result.require_success()
    assert result.row == ("gitloss_tf1", "4 -> 1", "validation accuracy 0.75 (0.10)", "12")


@pytest.mark.parametrize("losses, accuracy, problem", [
    ([1.0, 2.0], 0.75, "the loss does not fall"), ([2.0, 1.0], 0.1, "validation accuracy is not above chance"),
])
def test_a_model_that_does_not_learn_fails(tmp_path, losses, accuracy, problem):
    with pytest.raises(ZooError, match=problem):
        run_of(tmp_path, losses, accuracy).require_success()


@on_the_default_leg
@pytest.mark.slow
def test_the_quick_start_on_a_terminal():
    shown = terminal.run(sys.executable, "quickstart.py", seconds=1800)
    assert shown.status == 0, shown.text[-3000:]
    assert not [line for line in (*shown.lines, *shown.bars) if len(line) > 80 and " " in line.strip()]
    assert not re.search(r"\d\.\d{9}", shown.text), "numbers are rounded"
    rows = [line for line in shown.lines if re.match(r"\w+_\w+ +\S+ -> ", line)]
    assert [row.split()[0] for row in rows] == [model.name for model in quickstart.MODELS]
    with open(os.path.join(ROOT, quickstart.PAGE), encoding="utf-8") as file:
        page = file.read()
    pictures = re.findall(r"<img src='([^']+)'", page)
    assert len(pictures) >= 10 and all(
        os.path.isfile(os.path.join(ROOT, quickstart.FOLDER, path)) for path in pictures)
