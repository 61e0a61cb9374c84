"""Every model through its real scripts: runs on an awkward path, ModelArts, help, and what goes wrong early."""
from __future__ import annotations

import os
import shutil
import sys

import pytest

import quickstart
from common.tiny_data.__main__ import MAKERS
from tests import ROOT
from tests.conftest import on_the_default_leg
from tests.programs import error_line, git_status, one_line, run, tree
from tests.test_architecture import models, python_files, runs_here, train_entry
from tests.test_contract import entry_module

SHORT = ("--device=cpu", "--train_steps=2", "--batch_size=4")
# What scripts do with a model is the same for all; a graph model and a Keras model show that they work on a leg.
ONE_OF_A_KIND = [model for model in quickstart.MODELS if runs_here(model.name)
                 and model.name in ("gitloss_tf1", "siamese_triplet_tf2")]


def script(model, name="train_full_1p.sh"):
    return os.path.join(ROOT, model, "test", name)


def test_the_quick_start_knows_every_model():
    assert sorted(model.name for model in quickstart.MODELS) == models()


@pytest.mark.parametrize("model", ONE_OF_A_KIND, ids=lambda model: model.name)
def test_one_run_touches_its_run_directory_alone(tmp_path, model):
    home = tmp_path / "home"
    data = home / "it's \"my\" $(touch pwned); 数据"
    data.mkdir(parents=True)
    MAKERS[model.data_format](str(data))
    before, status = tree(tmp_path), git_status()
    result = run("bash", script(model.name), f"--data_path={data}", f"--output_path={tmp_path / 'out'}", *model.flags,
                 *SHORT, cwd=home, HOME=str(home))
    assert result.returncode == 0, result.stderr
    after = tree(tmp_path)
    new = {path for path in after if after[path] != before.get(path)}
    assert new and all(path.startswith(str(tmp_path / "out" / "0") + os.sep) for path in new), sorted(new)
    assert set(before) <= set(after) and git_status() == status
    pictures = ["curves.png", "report.html", *(["plots/features-2.png"] if model.name == "gitloss_tf1" else [])]
    assert {str(tmp_path / "out" / "0" / name) for name in pictures} <= new
    assert (tmp_path / "out" / "0" / "train_0.log").read_text(encoding="utf-8") == result.stdout
    assert f"Python {sys.version.split()[0]} ({sys.executable})" in result.stdout


@on_the_default_leg
@pytest.mark.slow
@pytest.mark.parametrize("model", quickstart.MODELS, ids=lambda model: model.name)
def test_modelarts_entry(tmp_path, model):
    MAKERS[model.data_format](str(tmp_path / "data"))
    entry = os.path.join(ROOT, model.name, "modelarts_entry_perf.py")
    result = run(sys.executable, entry, f"--data_url={tmp_path / 'data'}", f"--train_url={tmp_path / 'out'}",
                 *model.flags, *SHORT, "--job_name=7", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "Ignored, flags of the platform: --job_name=7" in result.stdout
    assert list((tmp_path / "out" / "0").glob("*_bs4_1p_perf.log"))


@pytest.mark.parametrize("model", models())
def test_modelarts_entries_without_the_repository(tmp_path, model):
    for name in ("modelarts_entry_acc.py", "modelarts_entry_perf.py"):
        shutil.copy(os.path.join(ROOT, model, name), str(tmp_path))
        # -S: without the packages of the environment, where `zoo` installs common/
        result = run(sys.executable, "-S", str(tmp_path / name), cwd=tmp_path)
        assert result.returncode == 1
        assert result.stderr == "[Error] common/ is missing: upload the repository root as code directory\n"


def test_a_device_id_is_no_path(tmp_path, tiny_mnist_folder):
    result = run("bash", script("gitloss_tf1"), f"--data_path={tiny_mnist_folder}", f"--output_path={tmp_path / 'out'}",
                 ASCEND_DEVICE_ID="../x")
    assert result.returncode == 1 and "ASCEND_DEVICE_ID='../x'" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("model", models())
@pytest.mark.parametrize("arguments, status, message", [
    (["--data_path"], 1, '[Error] para "data_path" must be config'),
    (["--data_path="], 1, '[Error] para "data_path" must be config'),
    (["--data_path=/no/such"], 1, "--data_path=/no/such: not found"),
    (["--data_path={data}", "--dta_path=x"], 2, "unknown flag --dta_path; did you mean --data_path?"),
    (["--data_path={data}", "--seed=x"], 2, "--seed"),
    (["--data_path={data}", "--over_dump=maybe"], 2, "--over_dump=maybe: expected true or false"),
    (["--data_path={data}"], 1, "--data_path={data}: no data in"),
    (["--data_path={data}/data.tar"], 1, "unpack the archive first: tar -xf"),
])
def test_mistakes_are_one_line_and_leave_nothing(tmp_path, capfd, model, arguments, status, message):
    data = tmp_path / "data"
    data.mkdir()
    (data / "data.tar").touch()
    arguments = [argument.format(data=data) for argument in arguments]
    assert entry_module(model).main([*arguments, f"--output_path={tmp_path / 'out'}"]) == status
    assert message.format(data=data) in error_line(capfd)
    assert not (tmp_path / "out").exists()


@on_the_default_leg
@pytest.mark.parametrize("model", models())
def test_a_script_passes_a_mistake_on(tmp_path, model):
    result = run("bash", script(model), "--data_path", f"--output_path={tmp_path / 'out'}")
    assert (result.returncode, one_line(result.stderr)) == (1, '[Error] para "data_path" must be config\n')
    assert not (tmp_path / "out").exists()


def programs():
    """Every file that is run by its path."""
    found = []
    for path in python_files(*models()):
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            text = file.read()
        if 'if __name__ == "__main__":' in text and "sys.path[0] = " in text and "modelarts" not in path:
            found.append(path)
    return found


def test_every_train_entry_is_a_program():
    assert {os.path.join(model, train_entry(model)) for model in models()} <= set(programs())


HELP = """
import runpy, sys
for path in sys.argv[1:]:
    sys.argv, sys.path[0] = [path, "--help"], path.rpartition("/")[0]  # as Python does with a program
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as ended:
        assert ended.code == 0, (path, ended.code)
"""


@on_the_default_leg
@pytest.mark.parametrize("model", models())
def test_help_needs_no_tensorflow(tmp_path, model):
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('TensorFlow was imported')")
    paths = [os.path.join(ROOT, path) for path in programs() if path.split(os.sep)[0] == model]
    result = run(sys.executable, "-c", HELP, *paths, PYTHONPATH=str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("Flags are written --flag=value or --flag value.") == len(paths) >= 4
