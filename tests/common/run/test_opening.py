"""Runs are made, resumed, archived or refused as docs/design.md says."""
from __future__ import annotations

import json
import os

import pytest

from common.devices.selection import Device
from common.errors import ZooError
from common.run import metrics, run_dir
from tests import runs


def finish(path):
    with open(os.path.join(str(path), metrics.METRICS), "a", encoding="utf-8") as file:
        file.write('{"kind": "final", "step": 10, "seconds": 1}\n')


def names(path):
    return sorted(os.listdir(str(path)))


def test_a_new_run(tmp_path):
    run = runs.opened(tmp_path / "out", identity=dict(switch="element"))
    assert not run.resumed
    arguments = run_dir.read_arguments(run.path)
    assert arguments["identity"] == dict(switch="element", model="model", recipe="reference", seed=0, batch_size=4,
                                         precision="float32", device="cpu", tensorflow="2.6.5")
    assert arguments["threads"] >= 1
    assert len(arguments["segments"]) == 1


def test_an_unfinished_run_with_the_same_arguments_is_resumed(tmp_path):
    runs.opened(tmp_path)
    run = runs.opened(tmp_path)
    assert run.resumed and len(run.arguments["segments"]) == 2 and names(tmp_path) == ["0"]


def test_more_updates_alone_are_resumed(tmp_path):
    runs.opened(tmp_path, updates=10)
    run = runs.opened(tmp_path, updates=20)
    assert run.resumed and run_dir.read_arguments(run.path)["num_updates"] == 20


def test_other_arguments_are_refused_with_difference_and_command(tmp_path):
    runs.opened(tmp_path / "a b", "--seed=0")
    with pytest.raises(ZooError) as caught:
        runs.opened(tmp_path / "a b", "--seed=1")
    assert "seed: was 0, now 1" in str(caught.value)
    assert f"/model/train.py '--output_path={tmp_path / 'a b'}' --seed=1 --resume=never" in str(caught.value)
    assert caught.value.status == 1


def test_a_run_of_a_version_with_compute_dtype_is_resumed(tmp_path):
    runs.opened(tmp_path, identity=dict(compute_dtype="float32"))
    assert runs.opened(tmp_path).resumed


def test_fewer_updates_are_other_arguments(tmp_path):
    runs.opened(tmp_path, updates=10)
    with pytest.raises(ZooError, match="updates: was 10, now 5"):
        runs.opened(tmp_path, updates=5)


def test_never_archives_an_unfinished_run(tmp_path):
    first = runs.opened(tmp_path)
    run = runs.opened(tmp_path, "--resume=never", "--seed=1")
    assert not run.resumed
    archived = [name for name in names(tmp_path) if name != "0"]
    assert archived == [f"0.{first.arguments['started']}"]
    assert run_dir.read_arguments(str(tmp_path / archived[0]))["identity"]["seed"] == 0
    assert f"The earlier run was archived as {tmp_path / archived[0]}." in (tmp_path / "0" / "train_0.log").read_text()


def test_a_finished_run_is_archived(tmp_path):
    runs.opened(tmp_path)
    finish(tmp_path / "0")
    assert not runs.opened(tmp_path).resumed
    assert len(names(tmp_path)) == 2


def test_runs_archived_in_the_same_second_keep_apart(tmp_path):
    for _ in range(4):
        runs.opened(tmp_path, "--resume=never")
    assert len(names(tmp_path)) == 4


def test_performance_runs_never_resume_and_are_never_resumed(tmp_path):
    runs.opened(tmp_path)
    assert not runs.opened(tmp_path, "--performance").resumed  # archives an unfinished run
    assert not runs.opened(tmp_path, "--performance").resumed
    assert not runs.opened(tmp_path).resumed
    assert len(names(tmp_path)) == 4


def test_a_path_resumes_a_finished_run_too(tmp_path):
    runs.opened(tmp_path, updates=10)
    finish(tmp_path / "0")
    assert runs.opened(tmp_path, f"--resume={tmp_path / '0'}", updates=20).resumed


def test_a_foreign_folder_is_left_alone(tmp_path):
    folder = tmp_path / "0"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    for arguments in ((), ("--resume=never",), ("--performance",)):
        with pytest.raises(ZooError, match="holds 'thesis.txt' and no arguments.json"):
            runs.opened(tmp_path, *arguments)
    assert names(folder) == ["thesis.txt"]


def test_an_empty_folder_and_a_start_that_was_killed_are_taken(tmp_path):
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / ".lock").touch()
    (tmp_path / "0" / ".arguments.json.99.tmp").write_text("{")
    assert not runs.opened(tmp_path).resumed


def test_a_damaged_arguments_file_is_named(tmp_path):
    runs.opened(tmp_path)
    path = tmp_path / "0" / run_dir.ARGUMENTS
    whole = json.loads(path.read_text())
    for content in ("", "{}", "[]", json.dumps(dict(whole, identity=3)), json.dumps(dict(whole, threads="two"))):
        path.write_text(content)
        with pytest.raises(ZooError, match="arguments.json: damaged, or not written by a run"):
            runs.opened(tmp_path)


def test_leftovers_of_a_killed_process_are_removed_and_nothing_else(tmp_path):
    runs.opened(tmp_path)
    folder = tmp_path / "0" / "plots"
    folder.mkdir()
    for name in (".features-3.png.123.tmp", "mine.tmp", ".hidden"):
        (folder / name).touch()
    assert runs.opened(tmp_path).resumed
    assert names(folder) == [".hidden", "mine.tmp"]


@pytest.mark.parametrize("path", ["file", "file/0"])
def test_a_file_where_the_folder_should_be(tmp_path, path):
    (tmp_path / "file").touch()
    with pytest.raises(ZooError, match="cannot be created .*choose another --output_path"):
        runs.opened(tmp_path / path)


def test_a_second_live_run_is_refused(tmp_path):
    with runs.open_run(tmp_path):
        for resume in ("auto", "never"):
            with pytest.raises(ZooError, match="another run is using it"):
                runs.opened(tmp_path, f"--resume={resume}")
    assert runs.opened(tmp_path).resumed


@pytest.mark.parametrize("flags, kind, warns", [((), "gpu", True), (("--deterministic",), "gpu", False),
                                                ((), "npu", True), ((), "cpu", False)])
def test_a_resumed_run_says_where_bits_will_differ(tmp_path, flags, kind, warns, capfd):
    for _ in range(2):
        run = runs.opened(tmp_path, *flags, device=Device(kind, "0"))
    assert run.resumed and ("differ in the last bits" in capfd.readouterr().out) == warns
    assert run.arguments["identity"].get("deterministic", False) == bool(flags)


def test_xla_is_another_run(tmp_path):
    runs.opened(tmp_path, "--jit_compile")
    assert runs.opened(tmp_path, "--jit_compile").resumed
    with pytest.raises(ZooError, match="jit_compile: was True, now None"):
        runs.opened(tmp_path)


def test_tf32_is_another_run(tmp_path):
    runs.opened(tmp_path, device=Device("gpu", "0", has_tf32=True))
    with pytest.raises(ZooError, match="precision: .*tf32.*float32"):
        runs.opened(tmp_path, "--precision_mode=force_fp32", device=Device("gpu", "0", has_tf32=True))
