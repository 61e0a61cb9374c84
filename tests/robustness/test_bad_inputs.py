"""Wrong command lines, environments and configurations, more than a hundred for each model: one line, the documented
status, nothing written.
"""
from __future__ import annotations

import dataclasses
import importlib
import json
import os

import pytest

from common.cli import parser
from sa_siam_tf1 import configuration
from tests.programs import tree
from tests.robustness.programs import MODELS, make_data

PROGRAMS = ("evaluate", "predict", "export")
BAD = {"bool": ["maybe", "2"], "int": ["one", "1.5", "99999999999999999999", "-99999999999999999999"],
       "float": ["x", "nan", "inf"]}


def bad_lines(model):
    """Yield program and arguments."""
    train = model.train[:-len(".py")].replace("/", ".")
    for name in (train, *PROGRAMS):
        module = importlib.import_module(f"{model.name}.{name}")
        flags = module.define_flags() if hasattr(module, "define_flags") else None
        for flag in flags.values if flags else ():
            definition = flags.values[flag].parser
            values = ["nonsense"] if hasattr(definition, "enum_values") else BAD.get(definition.flag_type(), [])
            for value in values:
                yield module, [f"--{flag}={value}"]
            yield module, [f"--{flag}_=1"]  # no such flag
        yield module, ["--checkpointx=1"]
        yield module, ["stray"]
        yield module, ["--"]
        yield module, ["-x"]
        yield module, ["--checkpoint" if name != train else "--batch_size"]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_wrong_flags_are_refused(model, tmp_path, monkeypatch, capsys, record_property):
    monkeypatch.chdir(str(tmp_path))
    tried = 0
    for module, arguments in bad_lines(model):
        status = module.main(arguments)
        out, error = capsys.readouterr()
        assert status == parser.FlagError.status, (module.__name__, arguments, status, out, error)
        assert error.startswith("[Error] ") and error.count("\n") == 1 and "Traceback" not in error + out, arguments
        tried += 1
    assert tried >= 100 and os.listdir(str(tmp_path)) == []
    record_property("tried", tried)


ENVIRONMENTS = [dict(ASCEND_DEVICE_ID=value) for value in ("a/b", "..", "/", "0/1", "a\nb")] + [
    dict(RANK_SIZE=value, RANK_ID=rank) for value, rank in (("x", "0"), ("1.5", "0"), ("-1", "0"))]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_wrong_environments_are_refused(model, tmp_path, monkeypatch, capsys, record_property):
    """Before anything is read or written; the data folder stays as it is."""
    data = make_data(model, str(tmp_path / "data"))
    before = tree(data)
    module = importlib.import_module(f"{model.name}.{model.train[:-len('.py')].replace('/', '.')}")
    for variables in ENVIRONMENTS:
        with monkeypatch.context() as context:
            for name, value in variables.items():
                context.setenv(name, value)
            status = module.main([f"--data_path={data}", f"--output_path={tmp_path / 'out'}", "--train_steps=1",
                                  *model.flags])
        out, error = capsys.readouterr()
        assert status in (1, 2) and error.startswith("[Error] ") and "Traceback" not in error + out, (variables, error)
        assert error.count("\n") == 1, error
    assert tree(data) == before and not (tmp_path / "out").exists()
    record_property("tried", len(ENVIRONMENTS))


@pytest.mark.parametrize("name", ["model_config.json", "train_config.json", "track_config.json"])
def test_damaged_configurations_are_refused(tmp_path, capsys, name, record_property):
    """Generated values of every field of SA-Siam's configuration, of a wrong type or out of range."""
    module = importlib.import_module("sa_siam_tf1.train_siamese_model")
    kind = next(kind for kind, file in configuration.FILES.items() if file == name)
    tried = 0
    for field in dataclasses.fields(kind):
        for value in ([], {}, "x", None, -1e400, [[1]]):
            for each, file in configuration.FILES.items():
                content = {field.name: value} if each is kind else {}
                (tmp_path / file).write_text(json.dumps(content))
            status = module.main([f"--config={tmp_path}", "--data_path=/no/such/folder"])
            out, error = capsys.readouterr()
            assert status in (1, 2) and error.count("\n") == 1 and "Traceback" not in error + out, (field.name, value)
            tried += 1
    record_property("tried", tried)
    record_property("subject", "sa_siam_tf1")
