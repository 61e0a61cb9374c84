"""Who may import whom; every model has the same files. See docs/design.md. All is read off the sources."""
from __future__ import annotations

import ast
import functools
import os
import re
import sys

import pytest

from tests import ROOT
from tests.conftest import on_the_default_leg

pytestmark = on_the_default_leg
ADAPTER_FILES = {"npu_bridge": {"common/graph/npu.py"}, "npu_device": {"common/graph/npu.py", "common/keras/npu.py"},
                 "moxing": {"common/cli/modelarts.py"}}
# The rooms of common/ by floor. A room imports itself and floors below; rooms of one floor do not know each other.
FLOORS = {
    "doctor": 6, "zoo": 6,
    "graph": 5, "keras": 5,
    "checkpoints": 4,
    "run": 3, "distributed": 3,
    "devices": 2, "tiny_data": 2,
    "cli": 1, "data": 1, "plots": 1, "evaluation": 1,
    "errors": 0, "console": 0, "atomic_files": 0, "seeds": 0,
}  # fmt: skip
TENSORFLOW_ROOMS = {"graph", "keras"}
MODEL_FILES = ("evaluate.py", "predict.py", "export.py", "README.md", "README.zh-CN.md", "requirements.txt", "LICENSE",
               "modelzoo_level.txt", "modelarts_entry_acc.py", "modelarts_entry_perf.py", "test/train_full_1p.sh",
               "__init__.py")
# The roles that every model has a module for, and what that module alone defines.
ROLES = {"recipe.py": {"Switches", "RECIPES"}, "training.py": {"train"}, "evaluation.py": set(),
         "restore.py": set(), "log_lines.py": set()}
VAGUE_NAMES = {"utils.py", "misc.py", "helpers.py", "weights.py"}
MAX_LINES = 350


def models():
    return sorted(name for name in os.listdir(ROOT) if os.path.exists(os.path.join(ROOT, name, "modelzoo_level.txt")))


def runs_here(model):
    """Whether this leg's TensorFlow is new enough for a model; 1.15 is the only one that Python 3.7 has here."""
    with open(os.path.join(ROOT, model, "modelzoo_level.txt"), encoding="utf-8") as file:
        minimum = re.search(r"^MinTensorFlow:(.*)", file.read(), re.MULTILINE).group(1)
    return sys.version_info >= (3, 8) or minimum == "1.15"


def python_files(*folders):
    found = []
    for folder in folders:
        for base, names, files in os.walk(os.path.join(ROOT, folder)):
            names[:] = [name for name in names if name not in ("__pycache__", "output")]
            found += [os.path.relpath(os.path.join(base, name), ROOT) for name in files if name.endswith(".py")]
    return sorted(found)


@functools.lru_cache(maxsize=None)
def tree_of(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return ast.parse(file.read(), path, **({"feature_version": (3, 7)} if sys.version_info >= (3, 8) else {}))


def imports(node):
    """Pairs (full name, import statement) below a node."""
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield alias.name, child
        elif isinstance(child, ast.ImportFrom):
            for alias in child.names:
                yield f"{'.' * child.level}{child.module or ''}.{alias.name}", child


def statements_outside_functions(node):
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield child
            yield from statements_outside_functions(child)


SOURCES = python_files("common", *models())
OWN_CODE = SOURCES + python_files("tests", "benchmarks", "docs") + ["quickstart.py"]


def test_there_is_something_to_look_at():
    assert models() and len(SOURCES) > 30


@pytest.mark.parametrize("path", python_files("common"))
def test_common_imports_and_names_no_model(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        text = file.read()
    assert not [model for model in models() if model in text]


def room_of(path):
    """The room of a module of common/: the folder below common/, or the module itself."""
    return os.path.splitext(path.split(os.sep)[1])[0]


def test_every_room_has_a_floor():
    rooms = {room_of(path) for path in python_files("common")} - {"__init__"}
    assert rooms == set(FLOORS)


@pytest.mark.parametrize("path", [path for path in python_files("common") if room_of(path) != "__init__"])
def test_rooms_import_only_from_floors_below(path):
    own = room_of(path)
    for name, _ in imports(tree_of(path)):
        parts = name.split(".")
        if parts[0] == "common" and parts[1] in FLOORS and parts[1] != own:  # ROOT is of no room
            assert FLOORS[parts[1]] < FLOORS[own], f"{path} (floor {FLOORS[own]}) imports {name}"


@pytest.mark.parametrize("path", [path for path in python_files("common") if room_of(path) not in TENSORFLOW_ROOMS])
def test_tensorflow_is_imported_in_two_rooms_only(path):
    names = {name.split(".")[0] for name, _ in imports(tree_of(path))}
    assert "tensorflow" not in names


@pytest.mark.parametrize("model", models())
def test_a_model_imports_common_and_itself(model):
    own = {name for name in os.listdir(ROOT) if os.path.isdir(os.path.join(ROOT, name))} - {"common", model}
    for path in python_files(model):
        foreign = [name for name, _ in imports(tree_of(path)) if name.split(".")[0] in own]
        assert not foreign, f"{path} imports {foreign}"


@pytest.mark.parametrize("path", OWN_CODE)
def test_imports_are_absolute_and_without_stars_and_the_syntax_is_that_of_python_3_7(path):
    for name, _ in imports(tree_of(path)):
        assert not name.startswith("."), f"{path}: {name}"
        assert not name.endswith(".*"), f"{path}: {name}"


@pytest.mark.parametrize("path", SOURCES)
def test_adapters_are_imported_in_functions_of_their_files(path):
    tree = tree_of(path)
    outside = {id(statement) for statement in statements_outside_functions(tree)}
    for name, statement in imports(tree):
        package = name.split(".")[0]
        if package in ADAPTER_FILES:
            assert path.replace(os.sep, "/") in ADAPTER_FILES[package], f"{path} imports {package}"
            assert id(statement) not in outside, f"{path} imports {package} outside of a function"


@pytest.mark.parametrize("path", python_files(*models()))
def test_graph_models_import_tensorflow_through_common(path):
    if path.split(os.sep)[0].endswith("_tf1"):
        assert not [name for name, _ in imports(tree_of(path)) if name.split(".")[0] == "tensorflow"]


@pytest.mark.parametrize("path", OWN_CODE)
def test_sys_path_is_set_by_scripts_alone_and_in_one_way(path):
    if path.startswith(os.path.join("tests", "")):
        return
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        lines = [line.strip() for line in file if "sys.path" in line]
    allowed = re.compile(r"sys\.path\[0\] = os\.path\.dirname\((os\.path\.dirname\(os\.path\.abspath"
                         r"\(__file__\)\)|folder)\)")
    assert all(allowed.fullmatch(line) for line in lines), f"{path}: {lines}"
    assert len(lines) <= 1


@pytest.mark.parametrize("path", SOURCES)
def test_modules_say_what_they_are_and_fit_a_sitting(path):
    tree = tree_of(path)
    if tree.body:
        assert ast.get_docstring(tree), f"{path} has no docstring"
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        assert len(file.readlines()) <= MAX_LINES


@pytest.mark.parametrize("path", python_files(*models()))
def test_models_have_no_version_branch_no_global_and_no_catch_all(path):
    tree = tree_of(path)
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Global), path
        assert not (isinstance(node, ast.Attribute) and node.attr in ("__version__", "version_info")), path
        if isinstance(node, ast.ExceptHandler):
            caught = ast.dump(node.type) if node.type else "everything"
            assert node.type and "'Exception'" not in caught and "'BaseException'" not in caught, f"{path}: {caught}"


def train_entry(model):
    with open(os.path.join(ROOT, model, "test", "train_full_1p.sh"), encoding="utf-8") as file:
        return re.search(r"^train_1p (\S+)", file.read(), re.MULTILINE).group(1)


def definitions(path):
    """Names that a module defines at its top level."""
    for node in tree_of(path).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


@pytest.mark.parametrize("model", models())
def test_the_same_role_has_the_same_name_in_every_model(model):
    for name, defined in ROLES.items():
        assert os.path.join(model, name) in python_files(model)
        for path in python_files(model):
            found = defined & set(definitions(path))
            assert found == (defined if path == os.path.join(model, name) else set()), path


@pytest.mark.parametrize("model", models())
def test_every_model_trains_in_the_common_loop(model):
    assert "common.run.loop" in [name for name, _ in imports(tree_of(os.path.join(model, "training.py")))]


def test_no_module_has_a_vague_name():
    assert not [path for path in OWN_CODE if os.path.basename(path) in VAGUE_NAMES]


@pytest.mark.parametrize("model", models())
def test_every_model_has_the_same_files(model):
    missing = [name for name in MODEL_FILES if not os.path.exists(os.path.join(ROOT, model, name))]
    assert not missing
    folder = os.path.join(ROOT, model, "test")
    scripts = [os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".sh")]
    assert any("train_performance_1p" in script for script in scripts)
    for script in scripts:
        with open(script, encoding="utf-8") as file:
            lines = file.read().splitlines()
        assert len(lines) <= 25 and "set -euo pipefail" in lines, script
        assert os.stat(script).st_mode & 0o777 == 0o755, script
    for name in os.listdir(os.path.join(ROOT, model)):
        if name.endswith("_perf.py") and "modelarts" not in name:
            with open(os.path.join(ROOT, model, name), encoding="utf-8") as file:
                assert len([line for line in file if line.strip()]) <= 10, f"{name} is a shim"
