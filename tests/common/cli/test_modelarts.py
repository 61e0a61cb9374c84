"""ModelArts: local folders are used in place, buckets are copied, failures too."""
from __future__ import annotations

import os
import shutil
import sys
import types

import pytest

from common.cli import modelarts, shared_flags
from common.cli.parser import FlagSet


@pytest.fixture
def flag_set():
    flags = FlagSet("")
    shared_flags.define_data(flags, "data")
    shared_flags.define_output(flags)
    flags.training.integer("batch_size", 1, "Images.", 1)
    flags.diagnosis.boolean("profiling", False, "Profile.")
    return flags


@pytest.fixture
def script(tmp_path):
    """Return a function that writes a training script; it sees its arguments as $* and in arguments.txt."""

    def write(body):
        path = tmp_path / "train.sh"
        path.write_text(f'echo "$*" > "{tmp_path}/arguments.txt"; {body}\n')
        return str(path)

    return write


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """A moxing that knows one bucket, obs://b, and records its copies."""
    root = tmp_path / "bucket"
    root.mkdir()
    copies = []

    def copy_parallel(source, target):
        copies.append((source, target))
        source, target = (path.replace("obs://b", str(root)) for path in (source, target))
        if "missing" in source + target:
            raise RuntimeError("MoxFileNotExistsException")
        for folder, _, names in os.walk(source):
            to = os.path.join(target, os.path.relpath(folder, source))
            os.makedirs(to, exist_ok=True)
            for name in names:
                shutil.copy(os.path.join(folder, name), os.path.join(to, name))

    module = types.ModuleType("moxing")
    module.file = types.SimpleNamespace(
        copy_parallel=copy_parallel, exists=lambda path: os.path.exists(path.replace("obs://b", str(root))),
        remove=lambda path, recursive: shutil.rmtree(path.replace("obs://b", str(root))))
    monkeypatch.setitem(sys.modules, "moxing", module)
    monkeypatch.setattr(modelarts, "_scratch", lambda: str(tmp_path))
    (root / "data").mkdir()
    (root / "data" / "images").write_text("pixels")
    return types.SimpleNamespace(root=root, copies=copies)


def arguments_of(tmp_path):
    return (tmp_path / "arguments.txt").read_text().strip()


def test_local_folders_are_used_in_place(tmp_path, flag_set, script):
    status = modelarts.main(script("exit 0"), flag_set, ["--data_url=/d", "--train_url=/o", "--batch_size", "4"])
    assert status == 0
    assert arguments_of(tmp_path) == "--data_path=/d --output_path=/o --batch_size=4"


def test_platform_flags_are_split_off(flag_set):
    ignored = []
    words = flag_set.words(["--data_url=obs://b", "--num_gpus", "8", "--ma_x=1", "--train_url", "/o", "stray",
                            "--profiling", "True"], ignored)
    assert words == dict(data_path="obs://b", output_path="/o", profiling="True")
    assert ignored == ["--num_gpus", "8", "--ma_x=1", "stray"]


def test_a_wrong_flag_is_an_error_before_anything_is_copied(flag_set, script, bucket, capfd):
    assert modelarts.main(script("exit 0"), flag_set, ["--data_url=obs://b/data", "--batch_size=0"]) == 2
    assert bucket.copies == [] and "--batch_size=0: expected" in capfd.readouterr().err


def test_help_is_that_of_the_train_entry(flag_set, script, capfd):
    assert modelarts.main(script("exit 1"), flag_set, ["--help"]) == 0
    assert "--batch_size=INTEGER" in capfd.readouterr().out


def test_platform_flags_are_logged_and_ignored(tmp_path, flag_set, script, capfd):
    assert modelarts.main(script("exit 0"), flag_set, ["--data_url=/d", "--num_gpus=8", "--init_method", "tcp://"]) == 0
    assert arguments_of(tmp_path) == "--data_path=/d"
    assert "Ignored, flags of the platform: --num_gpus=8 --init_method tcp://" in capfd.readouterr().out


@pytest.mark.parametrize("body, status", [("exit 0", 0), ("exit 1", 1), ("exit 2", 2), ("kill -9 $$", 137)])
def test_status_of_the_training_is_passed_on(flag_set, script, body, status):
    assert modelarts.main(script(body), flag_set, ["--data_url=/d"]) == status


def test_buckets_are_copied_in_and_out(tmp_path, flag_set, script, bucket):
    body = ('for a in "$@"; do case $a in --data_path=*) cat "${a#*=}/images";; '
            '--output_path=*) echo r > "${a#*=}/result";; esac; done')
    assert modelarts.main(script(body), flag_set, ["--data_url=obs://b/data", "--train_url=obs://b/out"]) == 0
    assert (bucket.root / "out" / "result").read_text() == "r\n"
    assert "obs://" not in arguments_of(tmp_path)


def test_results_of_a_failed_training_are_copied(flag_set, script, bucket):
    body = 'for a in "$@"; do case $a in --output_path=*) echo log > "${a#*=}/train_0.log";; esac; done; kill -6 $$'
    assert modelarts.main(script(body), flag_set, ["--data_url=/d", "--train_url=obs://b/out"]) == 134
    assert (bucket.root / "out" / "train_0.log").read_text() == "log\n"


def test_an_earlier_run_is_copied_so_that_it_can_be_resumed(flag_set, script, bucket):
    (bucket.root / "out" / "0").mkdir(parents=True)
    (bucket.root / "out" / "0" / "arguments.json").write_text("{}")
    body = 'for a in "$@"; do case $a in --output_path=*) cd "${a#*=}/0"; cat arguments.json > seen;; esac; done'
    assert modelarts.main(script(body), flag_set, ["--data_url=/d", "--train_url=obs://b/out/"]) == 0
    assert (bucket.root / "out" / "0" / "seen").read_text() == "{}"


def test_an_archived_run_does_not_mix_with_the_new_one(flag_set, script, bucket):
    (bucket.root / "out" / "0").mkdir(parents=True)
    (bucket.root / "out" / "0" / "model.ckpt-9.index").write_text("old")
    body = ('for a in "$@"; do case $a in --output_path=*) cd "${a#*=}";; esac; done; '
            'mv 0 0.20260101-000000; mkdir 0; echo new > 0/model.ckpt-1.index')
    assert modelarts.main(script(body), flag_set, ["--data_url=/d", "--train_url=obs://b/out"]) == 0
    assert os.listdir(str(bucket.root / "out" / "0")) == ["model.ckpt-1.index"]
    assert (bucket.root / "out" / "0.20260101-000000" / "model.ckpt-9.index").read_text() == "old"


def test_results_that_cannot_be_copied_stay_here(tmp_path, flag_set, script, bucket, capfd):
    body = 'for a in "$@"; do case $a in --output_path=*) echo r > "${a#*=}/result";; esac; done'
    assert modelarts.main(script(body), flag_set, ["--data_url=/d", "--train_url=obs://b/missing"]) == 1
    assert "failed, the source is unchanged" in capfd.readouterr().err
    (left,) = tmp_path.glob("zoo-output-*")
    assert (left / "result").read_text() == "r\n"


def test_nothing_is_left_on_this_machine(tmp_path, flag_set, script, bucket):
    assert modelarts.main(script("exit 0"), flag_set, ["--data_url=obs://b/data", "--train_url=obs://b/out"]) == 0
    assert not list(tmp_path.glob("zoo-*"))


def test_each_checkpoint_is_copied(flag_set, script, bucket, monkeypatch):
    monkeypatch.setattr(modelarts, "POLL_SECONDS", 0.1)
    body = ('for a in "$@"; do case $a in --output_path=*) o="${a#*=}";; esac; done; mkdir "$o/ckpt"; for i in 1 2; do '
            f'touch "$o/ckpt/model.ckpt-$i.index"; for wait in {{1..600}}; do '
            f'[ -e "{bucket.root}/out/ckpt/model.ckpt-$i.index" ] || sleep 0.05; done; done')
    assert modelarts.main(script(body), flag_set, ["--data_url=/d", "--train_url=obs://b/out"]) == 0
    assert len(bucket.copies) == 3  # two checkpoints and the end


def test_data_that_cannot_be_copied_is_an_error(flag_set, script, bucket, capfd):
    assert modelarts.main(script("exit 0"), flag_set, ["--data_url=obs://b/missing"]) == 1
    assert "obs://b/missing" in capfd.readouterr().err


def test_without_moxing_a_bucket_is_a_clear_error(tmp_path, flag_set, script, without_module, capfd):
    without_module("moxing")
    for arguments in (["--data_url=obs://b/d"], ["--data_url=/d", "--train_url=s3://b/o"]):
        assert modelarts.main(script("exit 0"), flag_set, arguments) == 1
        assert "moxing is missing" in capfd.readouterr().err
    assert not (tmp_path / "arguments.txt").exists()
