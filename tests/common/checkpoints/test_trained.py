"""Where programs write, and which run a checkpoint belongs to."""
from __future__ import annotations

import json
import subprocess
import sys
import types

import pytest

from common.checkpoints import trained
from common.errors import ZooError
from tests import ROOT


def arguments(model="model"):
    """The content of a run's arguments.json."""
    return json.dumps(dict(identity=dict(model=model), started="20260101-000000", num_updates=1,
                           performance=False, segments=[], threads=1))


def choose(path):
    flags = types.SimpleNamespace(checkpoint=str(path), output_path=str(path / "elsewhere"))
    return trained.choose(flags, "/no/model", "predict")


@pytest.mark.parametrize("folders, belongs", [
    ("", True), ("ckpt", True), ("track_model_checkpoints/SA-Siam-Appearance", True), ("a/b/c", False),
])
def test_a_checkpoint_belongs_to_the_run_that_it_lies_in(tmp_path, folders, belongs):
    run = tmp_path / "runs" / "0"
    (run / folders).mkdir(parents=True)
    (run / "arguments.json").write_text(arguments())
    path = run / folders / "model.ckpt-6649"
    (run / folders / "model.ckpt-6649.index").write_text("")
    checkpoint = choose(path)
    assert checkpoint.prefix == str(path)
    wanted = (str(run), str(run / "predict")) if belongs else (None, str(path / "elsewhere" / "predict"))
    assert (checkpoint.run_path, checkpoint.output_folder) == wanted


def test_a_run_within_a_run_has_its_own(tmp_path):
    inner = tmp_path / "0" / "again"
    (inner / "ckpt").mkdir(parents=True)
    for run in (tmp_path / "0", inner):
        (run / "arguments.json").write_text(arguments())
    (inner / "ckpt" / "model.ckpt-1.index").write_text("")
    assert choose(inner / "ckpt" / "model.ckpt-1").run_path == str(inner)
    assert choose(inner).prefix == str(inner / "ckpt" / "model.ckpt-1")


def test_a_run_of_another_model_is_refused(tmp_path):
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "arguments.json").write_text(arguments("other"))
    (tmp_path / "0" / "model.ckpt-1.index").write_text("")
    with pytest.raises(ZooError, match="0: is a run of other, expected one of model$"):
        choose(tmp_path / "0" / "model.ckpt-1")


@pytest.mark.parametrize("as_json, printed", [
    (False, "Checkpoint: /m\na line\nWritten: {0}/predict/result.json, plot.png and pairs.csv\n"),
    (True, '{{"loss": 1.5}}\n'),
])
def test_a_result_is_written_and_printed_in_lines_or_as_json(tmp_path, capsys, as_json, printed):
    checkpoint = trained.Checkpoint("/m", None, str(tmp_path / "predict"))
    for name in ("plot.png", "pairs.csv"):
        with open(checkpoint.file(name), "w", encoding="utf-8"):
            pass
    checkpoint.file("not_drawn.png")
    checkpoint.report("result.json", {"loss": 1.5}, ["a line"], as_json)
    assert capsys.readouterr().out == printed.format(tmp_path)
    assert json.loads((tmp_path / "predict" / "result.json").read_text()) == {"loss": 1.5}


def test_results_are_numbered_and_never_overwritten(tmp_path):
    checkpoint = trained.Checkpoint("/m", None, str(tmp_path / "predict"))
    for number in range(3):
        with checkpoint.numbered("result.json") as place:
            place.report("result.json", dict(number=number), [], True)
    for number, name in enumerate(("result.json", "2/result.json", "3/result.json")):
        assert json.loads((tmp_path / "predict" / name).read_text()) == dict(number=number)
    with pytest.raises(ZooError), checkpoint.numbered("result.json"):
        raise ZooError("nothing was written")
    with checkpoint.numbered("result.json") as place:
        assert place.output_folder == str(tmp_path / "predict" / "4")
    with checkpoint.numbered("another.json") as place:
        assert place.output_folder == checkpoint.output_folder


def test_programs_that_run_at_a_time_write_results_of_their_own(tmp_path):
    """Six processes ask for a number at once, and write a little later."""
    code = ("import json, sys, time\nfrom common.checkpoints import trained\n"
            "with trained.Checkpoint('/m', None, sys.argv[1]).numbered('result.json') as place:\n"
            "    time.sleep(0.05)\n    place.report('result.json', dict(number=sys.argv[2]), [], True)\n")
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(number)], cwd=ROOT,
                                  stdout=subprocess.DEVNULL) for number in range(6)]
    assert [process.wait(timeout=60) for process in processes] == [0] * 6
    written = [json.loads(path.read_text())["number"] for path in tmp_path.rglob("result.json")]
    assert sorted(written) == ["0", "1", "2", "3", "4", "5"]


def spellings(folder):
    prefix = folder / "model.ckpt-7"
    return [str(prefix), *(f"{prefix}{suffix}" for suffix in (".index", ".meta", ".data-00000-of-00001")),
            str(folder / "checkpoint"), str(folder), str(folder.parent), str(folder) + "/"]


def test_a_checkpoint_may_be_given_in_any_spelling(tmp_path):
    folder = tmp_path / "ckpt"
    folder.mkdir()
    for name in ("model.ckpt-3.index", "model.ckpt-7.index", "model.ckpt-7.data-00000-of-00001"):
        (folder / name).write_text("")
    (folder / "checkpoint").write_text('model_checkpoint_path: "/moved/away/model.ckpt-7"\n')
    for path in spellings(folder):
        assert trained.find(path) == str(folder / "model.ckpt-7"), path


def test_folders_of_one_or_of_several_checkpoints(tmp_path):
    (tmp_path / "a.index").write_text("")
    (tmp_path / "._b.index").write_text("")
    assert trained.find(str(tmp_path)) == str(tmp_path / "a")
    (tmp_path / "b.index").write_text("")
    with pytest.raises(ZooError, match="has 2 checkpoints, a, b; choose one of them"):
        trained.find(str(tmp_path))


@pytest.mark.parametrize("name, message", [
    ("best_epoch_weights.weights.h5", "is a weights file of Keras, expected a run directory"),
    ("nothing", r"nothing: not found \(no .*nothing\.index, no run directory\)"),
    ("", "is not a run directory .* and holds no checkpoint"),
])
def test_files_that_are_not_checkpoints_are_named(tmp_path, name, message):
    if name.endswith(".h5"):
        (tmp_path / name).write_text("")
    with pytest.raises(ZooError, match=message):
        trained.find(str(tmp_path / name))
