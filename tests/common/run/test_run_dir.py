"""Runs are made, resumed, set aside or refused as docs/design.md says."""
from __future__ import annotations

import json
import math
import os

import pytest

from common.errors import ZooError
from common.run import run_dir


def request(path, updates=10, performance=False, resume="auto", **identity):
    return run_dir.Request(str(path), dict(dict(model="m", seed=0), **identity), updates, performance, resume,
                           {"threads": 2}, ("python3", "train.py", "--data_path=/a b"))


def opened(path, **kwargs):
    run = run_dir.open_run(request(path, **kwargs), "0")
    run.close()
    return run


def finish(path):
    with open(os.path.join(str(path), run_dir.METRICS), "a", encoding="utf-8") as file:
        file.write('{"kind": "final", "step": 10, "seconds": 1}\n')


def names(path):
    return sorted(os.listdir(str(path)))


def test_a_new_run(tmp_path):
    run = opened(tmp_path / "out" / "0")
    assert not run.resumed
    arguments = run_dir.read_arguments(run.path)
    assert arguments["identity"] == {"model": "m", "seed": 0} and arguments["threads"] == 2
    assert len(arguments["segments"]) == 1


def test_an_unfinished_run_with_the_same_arguments_goes_on(tmp_path):
    opened(tmp_path / "0")
    run = opened(tmp_path / "0")
    assert run.resumed and len(run.arguments["segments"]) == 2 and names(tmp_path) == ["0"]


def test_more_updates_alone_go_on(tmp_path):
    opened(tmp_path / "0", updates=10)
    run = opened(tmp_path / "0", updates=20)
    assert run.resumed and run_dir.read_arguments(run.path)["num_updates"] == 20


def test_other_arguments_are_refused_with_difference_and_command(tmp_path):
    opened(tmp_path / "0", seed=0)
    with pytest.raises(ZooError) as caught:
        opened(tmp_path / "0", seed=1)
    assert "seed: it has 0, now 1" in str(caught.value)
    assert "python3 train.py '--data_path=/a b' --resume=never" in str(caught.value)
    assert caught.value.status == 1


def test_a_run_of_a_version_with_compute_dtype_is_resumed(tmp_path):
    opened(tmp_path / "0", compute_dtype="float32")
    assert opened(tmp_path / "0").resumed


def test_fewer_updates_are_other_arguments(tmp_path):
    opened(tmp_path / "0", updates=10)
    with pytest.raises(ZooError, match="updates: it has 10, now 5"):
        opened(tmp_path / "0", updates=5)


def test_never_sets_an_unfinished_run_aside(tmp_path):
    first = opened(tmp_path / "0")
    run = opened(tmp_path / "0", resume="never", seed=1)
    assert not run.resumed
    aside = [name for name in names(tmp_path) if name != "0"]
    assert aside == [f"0.{first.arguments['started']}"]
    assert run_dir.read_arguments(str(tmp_path / aside[0]))["identity"]["seed"] == 0
    assert aside[0] in run.notices[0]


def test_a_finished_run_is_set_aside(tmp_path):
    opened(tmp_path / "0")
    finish(tmp_path / "0")
    assert not opened(tmp_path / "0").resumed
    assert len(names(tmp_path)) == 2


def test_runs_set_aside_in_the_same_second_keep_apart(tmp_path):
    for _ in range(4):
        opened(tmp_path / "0", resume="never")
    assert len(names(tmp_path)) == 4


def test_performance_runs_never_resume_and_are_never_resumed(tmp_path):
    opened(tmp_path / "0")
    assert not opened(tmp_path / "0", performance=True).resumed  # sets an unfinished run aside
    assert not opened(tmp_path / "0", performance=True).resumed
    assert not opened(tmp_path / "0").resumed
    assert len(names(tmp_path)) == 4


def test_a_path_goes_on_also_with_a_finished_run(tmp_path):
    opened(tmp_path / "0", updates=10)
    finish(tmp_path / "0")
    assert run_dir.run_of_resume(str(tmp_path / "0")) == str(tmp_path / "0")
    assert opened(tmp_path / "0", updates=20, resume=str(tmp_path / "0")).resumed


def test_resume_path_must_be_a_run(tmp_path):
    with pytest.raises(ZooError, match="no run directory"):
        run_dir.run_of_resume(str(tmp_path))
    assert run_dir.run_of_resume("auto") is None and run_dir.run_of_resume("never") is None


def test_a_foreign_folder_is_left_alone(tmp_path):
    folder = tmp_path / "0"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    for kwargs in ({}, {"resume": "never"}, {"performance": True}):
        with pytest.raises(ZooError, match="holds 'thesis.txt' and no arguments.json"):
            opened(folder, **kwargs)
    assert names(folder) == ["thesis.txt"]


def test_an_empty_folder_and_a_start_that_was_killed_are_taken(tmp_path):
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / ".lock").touch()
    (tmp_path / "0" / ".arguments.json.99.tmp").write_text("{")
    assert not opened(tmp_path / "0").resumed


def test_a_damaged_arguments_file_is_named(tmp_path):
    opened(tmp_path / "0")
    path = tmp_path / "0" / run_dir.ARGUMENTS
    whole = json.loads(path.read_text())
    for content in ("", "{}", "[]", json.dumps(dict(whole, identity=3)), json.dumps(dict(whole, threads="two"))):
        path.write_text(content)
        with pytest.raises(ZooError, match="arguments.json: is not the file that a run writes"):
            opened(tmp_path / "0")


def test_what_a_kill_left_is_cleared_and_nothing_else(tmp_path):
    opened(tmp_path / "0")
    folder = tmp_path / "0" / "plots"
    folder.mkdir()
    for name in (".features-3.png.123.tmp", "fontlist-v330.json.matplotlib-lock", "mine.tmp", ".hidden"):
        (folder / name).touch()
    assert opened(tmp_path / "0").resumed
    assert names(folder) == [".hidden", "mine.tmp"]


@pytest.mark.parametrize("path", ["file", "file/0"])
def test_a_file_where_the_folder_should_be(tmp_path, path):
    (tmp_path / "file").touch()
    with pytest.raises(ZooError, match="cannot be made .*give another --output_path"):
        opened(tmp_path / path)


def test_a_second_live_run_is_refused(tmp_path):
    run = run_dir.open_run(request(tmp_path / "0"), "0")
    for resume in ("auto", "never"):
        with pytest.raises(ZooError, match="another run is using it"):
            opened(tmp_path / "0", resume=resume)
    run.close()
    assert opened(tmp_path / "0").resumed


@pytest.mark.parametrize("output_path, wanted", [("/o", "/o/3"), ("/o/3", "/o/3"), ("/o/3/", "/o/3"),
                                                 (None, "/model/test/output/3")])
def test_locate(output_path, wanted):
    assert run_dir.locate(output_path, "/model", "3") == wanted


def test_metrics_pass_over_a_half_written_last_line(tmp_path):
    path = tmp_path / run_dir.METRICS
    path.write_text('{"kind": "step", "step": 1, "seconds": 0.5}\n{"kind": "st')
    assert run_dir.read_metrics(str(tmp_path)) == [{"kind": "step", "step": 1, "seconds": 0.5}]


def test_null_is_read_as_no_number(tmp_path):
    (tmp_path / run_dir.METRICS).write_text('{"kind": "eval", "step": 1, "seconds": 0, "valid_loss": null}\n')
    assert math.isnan(run_dir.read_metrics(str(tmp_path))[0]["valid_loss"])


@pytest.mark.parametrize("line", ["{", "[]", "3", '{"step": 1}', '{"kind": "step", "step": 1}',
                                  '{"kind": "step", "step": "one", "seconds": 1}'])
def test_metrics_with_another_damaged_line_are_refused(tmp_path, line):
    (tmp_path / run_dir.METRICS).write_text(line + '\n{"kind": "step", "step": 1, "seconds": 1}\n')
    with pytest.raises(ZooError, match="line 1 is damaged"):
        run_dir.read_metrics(str(tmp_path))
