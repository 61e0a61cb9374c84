"""Wrong command lines, more than a hundred for each model: one line, the documented status, nothing written."""
from __future__ import annotations

import importlib
import os

import pytest

from common.cli import parser
from tests.robustness.programs import MODELS

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
def test_wrong_flags_are_refused(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(str(tmp_path))
    tried = 0
    for module, arguments in bad_lines(model):
        status = module.main(arguments)
        out, error = capsys.readouterr()
        assert status == parser.FlagError.status, (module.__name__, arguments, status, out, error)
        assert error.startswith("[Error] ") and error.count("\n") == 1 and "Traceback" not in error + out, arguments
        tried += 1
    assert tried >= 100 and os.listdir(str(tmp_path)) == []
    print(f"{model.name}: {tried} command lines")
