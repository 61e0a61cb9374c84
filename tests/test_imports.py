"""What importing a module does: nothing that a user would notice."""
from __future__ import annotations

import os

from tests.programs import run_python
from tests.test_architecture import SOURCES, TENSORFLOW_ROOMS, models, python_files, room_of, train_entry


def module_name(path):
    return path[:-len(".py")].replace(os.sep, ".").replace(".__init__", "")


IMPORT_ALL = """
import importlib, os, signal, sys
before = set(os.listdir(".")), dict(os.environ), signal.getsignal(signal.SIGTERM)
for name in sys.argv[1:]:
    importlib.import_module(name)
    assert "tensorflow" not in sys.modules, name + " imports TensorFlow"
    assert not {"npu_bridge", "npu_device", "moxing", "matplotlib"} & set(sys.modules), name
assert before == (set(os.listdir(".")), dict(os.environ), signal.getsignal(signal.SIGTERM))
from absl import flags
assert "data_path" not in flags.FLAGS
"""


def entries():
    names = {"evaluate.py", "predict.py", "export.py", "modelarts_entry_acc.py", "modelarts_entry_perf.py"}
    of_training = {os.path.join(model, train_entry(model)) for model in models()}
    return [path for path in python_files(*models()) if os.path.basename(path) in names or path in of_training]


def test_importing_has_no_effect_and_needs_no_tensorflow(tmp_path):
    names = [module_name(path) for path in python_files("common") + entries()
             if room_of(path) not in TENSORFLOW_ROOMS and "__main__" not in path]
    assert len(names) > 15
    result = run_python("-W", "error::ImportWarning", "-c", IMPORT_ALL, *names, cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_importing_the_others_prints_nothing_and_changes_no_variable(tmp_path):
    names = [module_name(path) for path in SOURCES if "__main__" not in path]
    # variables that the zoo sets at run time; TensorFlow sets others for itself when it is imported
    script = ("import importlib, os, sys\n"
              "ours = lambda: {k: v for k, v in os.environ.items() if k.startswith(('ASCEND', 'RANK', 'JOB', 'CUDA', "
              "'KERAS', 'MPL', 'TF_USE', 'TF_CPP'))}\n"
              "before = ours()\n"
              "for name in sys.argv[1:]: importlib.import_module(name)\n"
              "assert before == ours(), ours()\n")
    result = run_python("-c", script, *names, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
    assert os.listdir(str(tmp_path)) == []
