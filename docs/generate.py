"""Write the pages and tables that are generated from the code: make docs. --check only reports what is stale.

The flags are those of the train entries. The switches of the recipes and their values come from the recipe.py of a
model, their meaning and measured effect from its model.json, as do all results. generated.zh-CN.json has the Chinese
translation of every English text, with the punctuation and the names of the pages.
"""
from __future__ import annotations

import dataclasses
import importlib
import json
import os
import re
import sys
import textwrap
from typing import Any, Callable, Iterable, Iterator, Sequence

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from common import zoo
from common.cli.parser import REQUIRED, FlagSet

CATALOGUE = os.path.join("docs", "generated.zh-CN.json")
RECIPES = ("reference", "corrected")  # values of --recipe, not translated
RECIPES_INTRODUCTION = (
    "`--recipe=reference` (the default) computes what the original computes, quirks included; `--recipe=corrected` "
    "turns on the switches below. Every switch is also a flag, which wins over the recipe. An effect is the change "
    "that this switch alone makes in the reference recipe, measured with TensorFlow 2.21.0 on a CPU in November 2026 "
    "unless the table says otherwise. [results.md](results.md) has the numbers of whole recipes.")
RESULTS_INTRODUCTION = (
    "`published` numbers are those of the paper or of the original's pages. `measured` numbers come from the commands "
    "below the table, which are in the order of its measured rows, with one run for each seed; those of tracking and "
    "of one-shot episodes come from `zoo evaluate` after the training. DATA stands for the folder with the data. "
    "Compare only numbers that have the same metric and data. Nothing has been run on an NPU.")
RESULT_COLUMNS = {"recipe": "recipe", "metric": "metric", "value": "value", "evidence": "evidence",
                  "hardware": "device, version, date, commit", "data": "data", "note": "note"}  # titles by key
README_COLUMNS = ("what it does", "model", "published", "measured, reference recipe", "measured, corrected recipe")
README_KINDS = (("original", "published"), ("reference", "measured"), ("corrected", "measured"))
Translate = Callable[[str], str]


class Chinese:
    """Translates English texts by the catalogue."""

    def __init__(self) -> None:
        self._texts = json.loads(_read(CATALOGUE))
        self._used: dict[str, None] = {}  # in order

    def __call__(self, text: str) -> str:
        self._used[text] = None
        return self._texts.get(text, text)

    def problems(self) -> Iterator[str]:
        """Yield which words and sentences the catalogue lacks, and what it has in vain."""
        for text in self._used:
            if text not in self._texts and text not in RECIPES and re.search(r"\b[a-z]{4,}\b|[a-z]\.$", text):
                yield f"{CATALOGUE}: no translation of {text!r}"
        for text in self._texts:
            if text not in self._used:
                yield f"{CATALOGUE}: nothing says {text!r}"


def flag_table(flags: FlagSet, translate: Translate) -> str:
    """Return the table of a program's flags."""
    def escaped(text: str) -> str:
        return translate(text).replace("|", "\\|").replace("<", "\\<")

    rows = []
    for group in flags.groups:
        if group.defaults:
            rows.append([f"**{escaped(group.title)}** | |"])  # and two empty cells
        for name, default in group.defaults.items():
            aliases = _listed(flags.aliases(name), translate)
            choices = _listed(getattr(flags.values[name].parser, "enum_values", ()), translate)
            is_text = " " in default or default in ("none", REQUIRED)
            shown = "" if group is flags.ignored else escaped(default) if is_text else default
            rows.append([f"`{name}`" + (translate(" ({})").format(aliases) if aliases else ""),
                         shown, escaped(flags.values[name].help)
                         + (translate(" One of {}.").format(choices) if choices else "")])
    return _table(("flag", "default", "meaning"), rows, translate)


def switch_table(model: zoo.Model, translate: Translate) -> str:
    """Return the table of a model's switches; ValueError if model.json describes others than the model has."""
    recipe = importlib.import_module(f"{model.name}.recipe")
    reference, corrected = (dataclasses.asdict(recipe.RECIPES[name]) for name in RECIPES)
    described = model.card["switches"]
    if set(described) != set(reference):
        raise ValueError(f"{model.name}/model.json: differs from the switches of recipe.py: "
                         f"{sorted(set(described) ^ set(reference))}")
    rows = [[f"`{name}`", str(reference[name]), str(corrected[name]), translate(texts["meaning"]),
             translate(texts.get("effect", "not measured"))] for name, texts in described.items()]
    return _table(("flag", *RECIPES, "meaning", "measured effect"), rows, translate)


def recipes_page(translate: Translate) -> str:
    """Return docs/recipes.md."""
    lines = _head("Recipes", "[中文](recipes.zh-CN.md)", RECIPES_INTRODUCTION, translate)
    for model in zoo.models():
        readme = translate("README.md")
        lines += ["", f"## [{model.card['title']}](../{model.name}/{readme})", "", switch_table(model, translate)[:-1]]
    return "\n".join(lines) + "\n"


def results_page(translate: Translate) -> str:
    """Return docs/results.md."""
    lines = _head("Results", "[中文](results.zh-CN.md)", RESULTS_INTRODUCTION, translate)
    for model in zoo.models():
        results = model.card["results"]
        rows = [[translate(_cell(result, column)) for column in RESULT_COLUMNS] for result in results]
        lines += ["", f"## {model.card['title']}", "", translate("Paper") + translate(": ") + translate(
            model.card["paper"]), "", _table(tuple(RESULT_COLUMNS.values()), rows, translate)[:-1]]
        commands = [_command(result["command"]) for result in results if "command" in result]
        if commands:
            lines += ["", "```bash", *commands, "```"]
    return "\n".join(lines) + "\n"


def model_table(translate: Translate) -> str:
    """Return the table of README.md: what the models do, and their first results of each kind."""
    rows = []
    for model in zoo.models():
        cells = []
        for kind in README_KINDS:
            result = next((result for result in model.card["results"]
                           if (result["recipe"], result["evidence"]) == kind), None)
            cells.append(translate(result["metric"]) + translate(": ") + translate(result["value"])
                         + f" ({translate(result['data'])})" if result else "-")
        rows.append([translate(model.card["use"]), f"[{model.card['title']}]({model.name}/{translate('README.md')})",
                     *cells])
    return _table(README_COLUMNS, rows, translate)


def _head(title: str, other: str, introduction: str, translate: Translate) -> list[str]:
    """Return the first lines of a page; paragraphs in Chinese are not broken."""
    width = 120 if translate is str else sys.maxsize
    return [f"# {translate(title)}", "", translate(other), "",
            textwrap.fill(translate(introduction), width, break_on_hyphens=False)]


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]], translate: Translate) -> str:
    lines = [f"| {' | '.join(map(translate, titles))} |", "|---" * len(titles) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def _listed(names: Sequence[str], translate: Translate) -> str:
    return translate(", ").join(f"`{name}`" for name in names)


def _cell(result: dict[str, Any], column: str) -> str:
    text = str(result.get(column, ""))
    if column == "hardware" and result["evidence"] == "measured":
        text += f", TensorFlow {result['tensorflow']}, {result['date']}, {result['commit']}"
    return text


def _command(command: str) -> str:
    """Break a command that is too long for a line before its flags."""
    return " \\\n".join(textwrap.wrap(command, 97, subsequent_indent=" " * 4, break_on_hyphens=False,
                                      break_long_words=False))


def _read(path: str) -> str:
    with open(os.path.join(zoo.ROOT, path), encoding="utf-8") as file:
        return file.read()


def _replaced(path: str, **tables: str) -> str:
    """Return the content of a page with other tables between the markers of their names."""
    text = _read(path)
    for name, table in tables.items():
        begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
        head, _, rest = text.partition(begin)
        text = head + begin + table + end + rest.partition(end)[2]
    return text


def _pages(translate: Translate) -> dict[str, str]:
    """Return all pages of a language, by path."""
    readme = translate("README.md")
    pages = {f"docs/{translate('recipes.md')}": recipes_page(translate),
             f"docs/{translate('results.md')}": results_page(translate),
             readme: _replaced(readme, results=model_table(translate))}
    for model in zoo.models():
        entry = os.path.relpath(model.program("train"), zoo.ROOT)[:-len(".py")].replace(os.sep, ".")
        path, flags = f"{model.name}/{readme}", importlib.import_module(entry).define_flags()
        pages[path] = _replaced(path, flags=flag_table(flags, translate), recipes=switch_table(model, translate))
    return pages


def main() -> int:
    """Write the pages, or find the stale ones; return 1 if there are some, or the catalogue is not complete."""
    chinese = Chinese()
    pages = {**_pages(str), **_pages(chinese)}
    problems = list(chinese.problems())
    for path in (path for path, text in pages.items() if text != _read(path)):
        if "--check" in sys.argv:
            problems.append(f"{path}: stale, run 'make docs'")
        else:
            with open(os.path.join(zoo.ROOT, path), "w", encoding="utf-8") as file:
                file.write(pages[path])
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
