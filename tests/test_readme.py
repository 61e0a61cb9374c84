"""READMEs and docs/: commands parse, short ones run, links have targets, both languages agree.

Training commands run for two steps. Addresses, long `make` targets and NPU commands are parsed only. Paths below ~/
stand for those of the user; the tests use a temporary home.
"""
from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import sys

import pytest

import quickstart
from common import zoo
from common.tiny_data.__main__ import MAKERS
from tests import ROOT
from tests.conftest import on_the_default_leg
from tests.programs import git_status, run, tree
from tests.test_architecture import FLOORS, models, runs_here, train_entry
from tests.test_contract import entry_module

READMES = ["README.md", *(f"{model}/README.md" for model in models())]
DOCS = sorted(f"docs/{name}" for name in os.listdir(os.path.join(ROOT, "docs"))
              if name.endswith(".md") and not name.endswith(".zh-CN.md"))
PAIRS = [(english, english.replace(".md", ".zh-CN.md")) for english in READMES + DOCS]
MAX_COLUMNS = 120
PARSED_ALONE = ("git clone", "cd ", "source ", "curl ", "make ", "bash .ci/run", "python3 -m tests.kill_and_resume",
                "python3 benchmarks/", "tensorboard ")
CUT = ("--train_steps=2", "--batch_size=4", "--device=cpu")


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def commands(path):
    blocks = re.findall(r"```bash\n(.*?)```", read(path), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split(" #")[0].strip() for line in lines if line.strip() and not line.startswith("#")]


ALL_COMMANDS = sorted({command for pair in PAIRS for path in pair for command in commands(path)})


def words_of(command):
    """Return the words of a command without leading NAME=value."""
    words = shlex.split(command)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    return words


def entry_of(words):
    """Return the program whose flags a command gives, as (model, module name)."""
    path = words[1]
    model, _, inside = path.partition("/")
    if "/test/" in path or "modelarts" in path:
        return model, train_entry(model)[:-3]
    return model, inside[:-3]


@pytest.mark.parametrize("command", ALL_COMMANDS)
def test_commands_parse(command):
    words = words_of(command)
    assert words
    if words[0] == "make":
        assert re.search(rf"^{re.escape(words[1])}:", read("Makefile"), re.MULTILINE), command
    elif words[0] in ("python3", "bash") and not words[1].startswith("-"):
        assert os.path.exists(os.path.join(ROOT, words[1])), command
        model, name = entry_of(words)
        if model in models() and name == train_entry(model)[:-3]:
            entry_module(model).define_flags().parse(words[2:])
    elif words[0] == "zoo":
        assert re.search(rf"zoo [a-z|]*\b{words[1]}\b", zoo.__doc__), command
        if words[1] == "train" and runs_here(words[2]):
            entry_module(words[2]).define_flags().parse(words[3:])
    elif words[:2] == ["python3", "-m"]:
        assert importlib.util.find_spec(words[2]) is not None, command


def is_run(command):
    program = re.sub(r"^([A-Z_]+=\S+ )+", "", command)
    return not program.startswith(PARSED_ALONE) and "--device=npu" not in command and "obs://" not in command


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Return a home directory with tiny data, a folder for each format, and with `python3` and `zoo` in bin/."""
    folder = tmp_path_factory.mktemp("home")
    for data_format, make in MAKERS.items():
        make(str(folder / data_format))
    (folder / "bin").mkdir()
    for name, words in (("python3", ""), ("zoo", "-m common.zoo")):
        (folder / "bin" / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (folder / "bin" / name).chmod(0o755)
    return folder


def run_as_user(home, command):
    return run("bash", "-c", command, HOME=str(home), PATH=f"{home / 'bin'}:{os.environ['PATH']}")


def shortened(command):
    """Limit a training command to two steps."""
    entries = "|".join(re.escape(train_entry(model)) for model in models())
    if not re.search(rf"test/train_|modelarts_entry|_perf\.py|/({entries})", command):
        return command
    command = re.sub(r"--(train_steps|steps|epochs?|batch_size|update_centers)[= ]\S+", "", command)
    command = re.sub(r"/ckpt/model\.ckpt-\d+", "/ckpt/model.ckpt-2", command)
    return " ".join([command, *CUT])


def model_of(command):
    """Return the model whose program a command runs, or None."""
    return next((model for model in models() if re.search(rf"\b{model}[/.]", command)), None)


def readmes_of_this_leg():
    """Return the root README and those of the models that this leg's TensorFlow supports."""
    return [path for path in READMES if path == "README.md" or runs_here(os.path.dirname(path))]


@on_the_default_leg
@pytest.mark.slow
@pytest.mark.parametrize("readme", readmes_of_this_leg())
def test_short_commands_run(home, readme):
    """Commands run in the order of the README, as a user would run them.

    They write to the folders that they name alone: not to the data, the sources or elsewhere in the home directory.
    """
    ordered = [command for command in commands(readme) if is_run(command)]
    ordered = [command for command in ordered if model_of(command) is None or runs_here(model_of(command))]
    assert len(ordered) >= 3
    if readme != "README.md":  # the root README's commands run with that README
        shown = commands("README.md")
        ordered = [command for command in ordered if command not in shown or "test/train_" in command]
    data = {path: time for data_format in MAKERS for path, time in tree(home / data_format).items()}
    before, status = set(os.listdir(str(home))), git_status()
    for cut in dict.fromkeys(map(shortened, ordered)):
        result = run_as_user(home, cut)
        assert result.returncode == 0, f"{cut}\n{result.stdout}{result.stderr}"
    assert {path: time for data_format in MAKERS for path, time in tree(home / data_format).items()} == data
    assert set(os.listdir(str(home))) - before <= set(re.findall(r"~/([\w.-]+)", " ".join(ordered)))
    assert git_status() == status
    # the next README trains with other arguments
    shutil.rmtree(str(home / "runs"), ignore_errors=True)


@pytest.mark.parametrize("english, chinese", PAIRS)
def test_both_languages_agree(english, chinese):
    assert commands(english) == commands(chinese)
    for pattern in (r"^#+ ", r"^\|", r"^- ", r"^```"):
        counts = [len(re.findall(pattern, read(path), re.MULTILINE)) for path in (english, chinese)]
        assert counts[0] == counts[1], f"{pattern}: {counts}"
    numbers = [sorted(re.findall(r"\d+\.\d+", read(path))) for path in (english, chinese)]
    assert numbers[0] == numbers[1]
    assert re.search(r"[一-鿿]{4}", read(chinese))


@pytest.mark.parametrize("path", [path for pair in PAIRS for path in pair])
def test_links_have_targets(path):
    for target in re.findall(r"\]\(([^)#]+)", read(path)):
        if not target.startswith("http"):
            assert os.path.exists(os.path.join(ROOT, os.path.dirname(path), target)), target


def prose_lines(path):
    """Yield the line numbers and lines of a page that belong to paragraphs and lists."""
    in_fence = False
    for number, line in enumerate(read(path).splitlines(), 1):
        in_fence ^= line.startswith("```")
        if not line.startswith(("```", "|", "#", "<!--", "    ")) and not in_fence:
            yield number, line


@pytest.mark.parametrize("english, chinese", PAIRS)
def test_english_is_wrapped_and_chinese_paragraphs_are_one_line(english, chinese):
    too_long = [number for number, line in prose_lines(english) if len(line) > MAX_COLUMNS and " " in line.strip()]
    assert not too_long, f"{english}: lines {too_long}"
    filled = [number for number, line in prose_lines(chinese) if line and not re.match(r"- |\d+\. ", line)]
    broken = [number for number in filled if read(chinese).splitlines()[number - 2].strip()]
    assert not broken, f"{chinese}: lines {broken}"


def test_design_guide_draws_the_rooms_of_common():
    for path in ("docs/design.md", "docs/design.zh-CN.md"):
        floors = re.findall(r"subgraph floor(\d).*?\n(.*?)\n    end", read(path), re.DOTALL)
        drawn = {room: int(floor) for floor, rooms in floors for room in re.findall(r'\["(\w+)', rooms)}
        assert drawn == FLOORS, path


@pytest.mark.parametrize("model", quickstart.MODELS, ids=lambda model: model.name)
def test_model_readme_begins_with_the_quick_start(model):
    train = next(command for command in commands(f"{model.name}/README.md") if "test/train_full" in command)
    assert set(model.flags) <= set(shlex.split(train)), f"{model.name}: its flags are in quickstart.py"


@on_the_default_leg
def test_generated_pages_are_current_in_both_languages():
    result = run(sys.executable, "docs/generate.py", "--check")
    assert (result.returncode, result.stdout) == (0, "")


@pytest.mark.parametrize("model", models())
def test_every_flag_is_in_the_model_s_readme(model):
    flags = entry_module(model).define_flags()
    for path in (f"{model}/README.md", f"{model}/README.zh-CN.md"):
        missing = [name for name in flags.values if f"`{name}`" not in read(path)]
        assert not missing, f"{path}: {missing}"


def test_changelog_names_the_version():
    version = re.search(r'^version = "(.*)"', read("pyproject.toml"), re.MULTILINE).group(1)
    assert f"## {version}" in read("CHANGELOG.md")
