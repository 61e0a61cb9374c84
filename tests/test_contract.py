"""What a user can rely on, for every model. See docs/design.md."""
from __future__ import annotations

import importlib
import os
import re

import pytest

from tests import ROOT
from tests.programs import error_line, one_line
from tests.test_architecture import models, train_entry

# name, aliases, default (... is the model's own)
SHARED_FLAGS = (
    ("data_path", ("data_url",), None), ("output_path", ("train_url", "exp_save_dir"), None),
    ("epochs", ("epoch", "train_epochs"), None), ("train_steps", (), None), ("batch_size", (), ...), ("seed", (), ...),
    ("recipe", (), "reference"), ("device", (), "auto"), ("resume", (), "auto"),
    ("init_checkpoint", ("pretrained_model",), None), ("precision_mode", (), None), ("over_dump", (), False),
    ("data_dump_flag", (), False), ("data_dump_step", (), "10"), ("profiling", (), False), ("over_dump_path", (), None),
    ("data_dump_path", (), None), ("profiling_dump_path", (), None), ("use_mixlist", (), False),
    ("mixlist_file", (), "ops_info.json"), ("fusion_off_flag", (), False),
    ("fusion_off_file", (), "fusion_switch.cfg"), ("auto_tune", (), False), ("static_shape", (), False),
    ("save_minutes", (), 5),
)
SAMPLES = {"epochs": "2", "train_steps": "2", "batch_size": "2", "seed": "2", "recipe": "corrected", "device": "cpu",
           "resume": "never", "precision_mode": "force_fp16", "save_minutes": "2"}


def entry_module(model):
    return importlib.import_module(f"{model}.{train_entry(model)[:-3].replace('/', '.')}")


@pytest.mark.parametrize("model", models())
@pytest.mark.parametrize("name, aliases, default", SHARED_FLAGS)
def test_shared_flags(model, name, aliases, default):
    flags = entry_module(model).define_flags()
    if default is not ...:
        assert flags.values[name].default == default
    boolean = isinstance(default, bool)
    sample = SAMPLES.get(name, "true" if boolean else "x")
    for alias in (name, *aliases):
        flags = entry_module(model).define_flags()
        values = flags.parse([f"--{alias}", sample])
        assert str(getattr(values, name)).lower() == sample


def programs_of(model):
    """The train entry and the three programs that every model has, by name."""
    return {"train": entry_module(model), **{name: importlib.import_module(f"{model}.{name}")
                                             for name in ("evaluate", "predict", "export")}}


@pytest.mark.parametrize("model", models())
def test_every_program_answers_help(model, capfd):
    for name, program in programs_of(model).items():
        assert program.main(["-h"]) == 0
        out, error = capfd.readouterr()
        assert error == "" and max(len(line) for line in out.splitlines() if not line.startswith("    python3 ")) <= 80
        assert all(flag in out for flag in ["--output_path"] + ["--checkpoint", "--json"] * (name != "train"))
        assert ("--background" in out) == (name == "predict")  # docs/images.md


@pytest.mark.parametrize("model", models())
def test_every_program_refuses_nonsense_in_one_line(model, capfd):
    for program in programs_of(model).values():
        for argument in ("--nonsense", "stray"):
            assert program.main([argument]) == 2
            out, error = capfd.readouterr()
            assert out == "" and argument in one_line(error)


@pytest.mark.parametrize("model", ["gitloss_tf1", "sa_siam_tf1"])
def test_these_models_train_on_a_single_device(model, monkeypatch, capfd, tmp_path):
    monkeypatch.setenv("RANK_SIZE", "8")
    assert entry_module(model).main([f"--data_path={tmp_path}", f"--output_path={tmp_path / 'out'}"]) == 1
    assert "single-device model" in error_line(capfd) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("model", models())
def test_level_file_is_read_by_the_doctor(model):
    with open(os.path.join(ROOT, model, "modelzoo_level.txt"), encoding="utf-8") as file:
        entries = dict(line.strip().split(":") for line in file)
    assert set(entries) == {"FuncStatus", "PerfStatus", "PrecisionStatus", "MinTensorFlow"}
    assert re.fullmatch(r"\d+\.\d+", entries["MinTensorFlow"])


@pytest.mark.parametrize("model", models())
def test_a_model_s_requirements_name_no_tensorflow(model):
    with open(os.path.join(ROOT, model, "requirements.txt"), encoding="utf-8") as file:
        packages = [line.strip() for line in file if line.strip() and not line.startswith("#")]
    assert packages and all(re.fullmatch(r"[a-z0-9_-]+>=[\d.]+", package) for package in packages)
    assert not [package for package in packages if "tensorflow" in package]
