"""The zoo's one command: what it finds, starts and shows."""
from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from common import zoo
from common.devices import selection
from common.run import curves, report
from common.run.report import summarise
from tests import ROOT, runs, terminal
from tests.common.run.recording import Deaf, record_of, step
from tests.conftest import on_the_default_leg
from tests.figures import legend_of, size_of
from tests.programs import run, run_python
from tests.test_architecture import models, train_entry

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture
def folder(tmp_path):
    """A finished run in a/0 and one that was stopped in b/0."""
    for name, updates, finishes in (("a", 3, True), ("b", 5, False)):
        with runs.open_run(tmp_path / name, f"--seed={updates}", updates=updates) as opened:
            record = record_of(opened)
            record.restore(Deaf())
            for number in range(1, 4):
                step(record, number, loss=1.0 / number)
            record.evaluation(3, dict(accuracy=0.25 * updates, best=True, unix_seconds=1e9))
            if finishes:
                record.finish(3, 0.75, {})
            record.close()
    return tmp_path


def test_models_are_found_by_their_card():
    assert [model.name for model in zoo.models()] == models()
    for model in zoo.models():
        assert model.program("train") == os.path.join(ROOT, model.name, train_entry(model.name))
        assert all(os.path.isfile(model.program(kind)) for kind in zoo.PROGRAMS)
        with open(os.path.join(ROOT, model.name, "modelzoo_level.txt"), encoding="utf-8") as file:
            assert f"MinTensorFlow:{model.card['minimum_tensorflow']}" in file.read()


@pytest.mark.parametrize("words, message", [
    ([sys.executable], "zoo"), (["nonsense"], "zoo nonsense: no such command; expected list"),
    (["trian", "gitloss"], "zoo trian: no such command; did you mean train?"),
    (["train"], "zoo train needs a model: zoo train circleloss_tf1|"), (["train", "--seed=1"], "needs a model"),
    (["evaluate", "resnet"], "resnet: no such model; expected one of circleloss_tf1"),
    (["export", "siamese"], "siamese: several models have this prefix"),
    (["compare", "one"], "needs two runs"), (["report"], "needs one run"),
])
def test_wrong_commands(words, message, capsys):
    assert zoo.main(words) == 2
    assert message in capsys.readouterr().err


def test_programs_keep_their_flags_and_their_exit_status(tmp_path):
    """Started from another folder, by the beginning of the model's name."""
    command = ["-m", "common.zoo", "train", "gitloss"]
    assert "--update_centers" in run_python(*command, "--help", cwd=tmp_path).stdout
    for flag, status in (("--nonsense", 2), ("--data_path=/nowhere", 1)):
        assert run_python(*command, flag, cwd=tmp_path).returncode == status


def test_list_says_where_data_are(tmp_path, capsys):
    (tmp_path / "MNIST").mkdir()
    assert zoo.main(["list", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if not line.startswith(" ")}
    assert rows["model"] == ["device", "data", "weights"]
    assert rows["gitloss_tf1"][1:] == ["found", "--checkpoint=pretrained"]
    assert rows["siamese_omniglot"][1:] == ["missing", "--checkpoint=pretrained"]
    assert rows["circleloss_tf1"][1:] == ["missing", "none,", "train", "first"]
    assert f"; MNIST: {tmp_path / 'MNIST'}\n" in out and f"; Omniglot: missing in {tmp_path}\n" in out
    assert zoo.main(["list", str(tmp_path / "MNIST")]) == 0  # the data folder itself, as --data_path takes it
    assert f"; MNIST: {tmp_path / 'MNIST'}\n" in capsys.readouterr().out
    (tmp_path / "MNIST").rename(tmp_path / "digits")
    (tmp_path / "digits" / "train-images-idx3-ubyte.gz").write_bytes(b"")
    assert zoo.main(["list", str(tmp_path / "digits")]) == 0
    assert f"; MNIST: {tmp_path / 'digits' / 'train-images-idx3-ubyte.gz'}\n" in capsys.readouterr().out


@pytest.mark.parametrize("adapters, files, gpu_files, wanted", [
    (["npu_device"], ["/dev/davinci0"], [], "npu"), ([], ["/dev/davinci0"], [], "npu?"),
    ([], [], ["nvidiactl", "nvidia0"], "gpu?"), ([], [], ["nvidiactl"], "cpu"), ([], [], [], "cpu"),
])
def test_the_likely_device_is_known_without_tensorflow(monkeypatch, tmp_path, adapters, files, gpu_files, wanted):
    """A "?" where the adapter is missing, or TensorFlow may not use the GPU."""
    monkeypatch.setattr(selection, "installed_adapters", lambda: adapters)
    monkeypatch.setattr(selection, "device_files", lambda: files)
    for name in gpu_files:
        (tmp_path / name).touch()
    monkeypatch.setattr(zoo, "_GPU_FILES", (str(tmp_path / "nvidia[0-9]*"),))
    assert zoo._likely_device() == wanted
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert zoo._likely_device() == "-"


def test_list_shows_the_device_in_80_columns(monkeypatch, capsys):
    monkeypatch.setattr(zoo, "_likely_device", lambda: "npu?")
    assert zoo.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = [line.split()[1] for line in lines if line.split()[0] in models()]
    assert shown == ["npu?"] * len(models())
    assert all(len(line) <= 80 for line in terminal.run(sys.executable, "-m", "common.zoo", "list", ROOT).lines)


def test_runs(folder, capfd):
    (folder / "c" / "0").mkdir(parents=True)
    (folder / "c" / "0" / "arguments.json").write_text("{")
    with runs.open_run(folder / "d"):
        capfd.readouterr()
        assert zoo.main(["runs", str(folder)]) == 0
    out = capfd.readouterr()
    rows = [line.split() for line in out.out.splitlines() if "reference" in line]
    assert [row[2] for row in rows] == ["3/3", "3/5", "0/10"]
    assert [row[3] for row in rows] == ["finished", "stopped", "running"]
    assert "c/0/arguments.json: damaged, or not written by a run" in out.err


def test_runs_name_the_metric(folder, monkeypatch, capsys):
    card = dict(metric=dict(key="accuracy", name="pair accuracy"))
    monkeypatch.setattr(zoo, "models", lambda: [zoo.Model("model", card)])
    assert zoo.main(["runs", str(folder)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"/a/0: pair accuracy 0\.7500$", out, re.MULTILINE)
    assert re.search(r"/b/0: pair accuracy 1\.2500$", out, re.MULTILINE)


def test_help_fits_80_columns(capsys):
    assert zoo.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80 and all(
        any(re.match(rf"    zoo .*\b{name}\b", line) for line in lines)
        for name in (*zoo.PROGRAMS, *zoo.PROGRAMS_OF_ALL, "list", "runs", "compare", "report", "completion"))


def test_no_runs(tmp_path, capsys):
    assert zoo.main(["runs", str(tmp_path)]) == 0 and "no runs in" in capsys.readouterr().out
    assert zoo.main(["runs", str(tmp_path / "missing")]) == 1


def test_compare(folder, capsys):
    assert zoo.main(["compare", str(folder / "a" / "0"), str(folder / "b" / "0")]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^seed +3 +5$", out, re.MULTILINE) and re.search(r"^accuracy +0.75 +1.25$", out, re.MULTILINE)
    assert not re.search(r"^recipe", out, re.MULTILINE)  # the same in both
    assert "unix_seconds" not in out  # no result
    assert (folder / "a" / "0" / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_the_figure_of_a_comparison(folder, saved_figures):
    """A panel for each number that both runs have, with a curve for each run."""
    pytest.importorskip("matplotlib")
    runs_by_label = {name: summarise(str(folder / name / "0")) for name in ("a", "b")}
    assert curves.draw_together(str(folder / "compare.png"), runs_by_label)
    figure = saved_figures["compare.png"]
    assert figure._suptitle.get_text() == "a: model, reference, step 3 (a/0)\nb: model, reference, step 3 (b/0)"
    assert [axis.get_title() for axis in figure.axes] == ["loss (training batch)", "accuracy (evaluation)"]
    assert size_of(figure) == [1067, 340]
    for axis, wanted in zip(figure.axes, ([[1.0, 0.5, 1 / 3]] * 2, [[0.75], [1.25]])):
        assert legend_of(axis) == ["a", "b"] and axis.get_xlabel() == "updates"
        assert all(tick == int(tick) for tick in axis.get_xticks())  # also where there is one point
        assert [list(line.get_ydata()) for line in axis.get_lines()] == wanted
        assert len({line.get_color() for line in axis.get_lines()}) == 2


def test_runs_that_share_no_number_are_not_drawn(folder, tmp_path):
    assert not curves.draw_together(str(tmp_path / "compare.png"), dict(a=summarise(str(folder / "a" / "0"))))
    assert not (tmp_path / "compare.png").exists()


def test_equal_runs_differ_in_nothing(folder):
    one = summarise(str(folder / "a" / "0"))
    assert curves.differing_settings([one, one]) == [("(all the same)", "", "")]


def test_a_report_needs_no_other_file(folder, capsys):
    path = folder / "a" / "0"
    for name in ("plots", "evaluate", "evaluate/projector"):
        (path / name).mkdir()
    for name in ("curves.png", "plots/features-2.png", "plots/features-9.png", "evaluate/projector/sprite.png"):
        (path / name).write_bytes(b"\x89PNG<script>")
    (path / "train_0.log").write_text("Warning: <b>odd</b>\nWarning: <b>odd</b>\nquiet\n")
    assert zoo.main(["report", str(path)]) == 0
    text = (path / report.NAME).read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=\"(?!data:)", text) and "<script" not in text
    assert text.count("Warning: &lt;b&gt;odd&lt;/b&gt;") == 1
    assert "finished after 3 of 3 updates" in text and "zoo train model" in text and "--seed=3" in text
    assert "<td>Final Train Accuracy</td>" in text and "unix_seconds" not in text  # results alone
    assert "curves.png" in text and "features-9.png" in text and "features-2.png" not in text  # the newest of a name
    assert "sprite.png" not in text  # TensorBoard's
    assert "Written: " in capsys.readouterr().out


def test_a_report_shows_how_sure_results_are(folder):
    run = summarise(str(folder / "b" / "0"))
    measured = dict(far_std=0.1, lfw=0.63, lfw_std=0.119, pairs=0.9, pairs_error=0.02)
    run = dataclasses.replace(run, evaluation=measured, final={})
    assert list(report._metrics(run)) == [("far_std", "0.1"), ("lfw", "0.63 ± 0.119 (std)"),
                                          ("pairs", "0.9 ± 0.02 (error)")]


def test_a_report_of_a_stopped_run(folder):
    with open(report.write(summarise(str(folder / "b" / "0"))), encoding="utf-8") as file:
        assert "stopped after 3 of 5 updates" in file.read()


@on_the_default_leg
@pytest.mark.slow
@pytest.mark.usefixtures("pictures")
@pytest.mark.skipif(not BROWSER, reason="no chromium")
def test_a_browser_shows_the_report(folder):
    """With its curves: the picture is inside, wide enough to read, and no request leaves the file."""
    page = report.write(summarise(str(folder / "a" / "0")))
    browse = (BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1000,1500",
              f"--user-data-dir={folder / 'profile'}")
    picture = folder / "page.png"
    assert run(*browse, f"--screenshot={picture}", f"file://{page}").returncode == 0
    pixels = np.asarray(Image.open(str(picture)).convert("RGB")).astype(int)
    assert pixels.shape == (1500, 1000, 3)
    is_blue = (np.abs(pixels - (0, 114, 178)) < 12).all(axis=2)  # the first colour of our curves
    assert is_blue.sum() > 100 and np.ptp(np.flatnonzero(is_blue.any(axis=0))) > 300
    document = run(*browse, "--dump-dom", f"file://{page}").stdout
    assert "finished after 3 of 3 updates" in document and "src=\"data:image/png;base64," in document
    assert not re.search(r"(src|href)=\"(?!data:)", document)


def test_completion_is_bash():
    script = run_python("-m", "common.zoo", "completion").stdout
    check = script + '\nCOMP_WORDS=(zoo train git); COMP_CWORD=2; _zoo; echo "${COMPREPLY[@]}"'
    assert run("bash", "-c", check).stdout == "gitloss_tf1\n"


def test_flags_are_completed():
    script = run_python("-m", "common.zoo", "completion").stdout
    program = f'zoo() {{ PYTHONPATH={ROOT} "{sys.executable}" -m common.zoo "$@"; }}\n'
    check = program + script + '\nCOMP_WORDS=(zoo train gitloss --lam); COMP_CWORD=3; _zoo; echo "${COMPREPLY[@]}"'
    assert run("bash", "-c", check).stdout == "--lambda_c= --lambda_g=\n"
