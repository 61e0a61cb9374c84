"""Write the tables of the recipes' switches to docs/recipes.md and the READMEs: make docs. --check only reports.

The values come from the recipe.py of a model; meaning and measured effect come from its model.json. A switch without a
measured effect is said to be not measured. recipes.zh-CN.json has the translation of every English text.
"""
from __future__ import annotations

import dataclasses
import importlib
import os
import sys
import textwrap
from typing import Callable

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from common import zoo
from docs.generated_pages import FOLDER, Chinese, finish, replaced

TITLE = "Recipes"
INTRODUCTION = (
    "`--recipe=reference` (the default) computes what the original computes, quirks included; `--recipe=corrected` "
    "turns on the switches below. Every switch is also a flag, which wins over the recipe. An effect is the change "
    "that this switch alone makes in the reference recipe, measured with TensorFlow 2.21.0 on a CPU in November 2026 "
    "unless the table says otherwise. [results.md](results.md) has the numbers of whole recipes.")
RECIPES = ("reference", "corrected")  # values of --recipe, not translated
COLUMNS = ("flag", *RECIPES, "meaning", "measured effect")
NOT_MEASURED = "not measured"


def table(model: zoo.Model, translate: Callable[[str], str]) -> str:
    """Return the Markdown table of a model's switches in a language.

    Raises:
        ValueError: model.json describes other switches than the model has.
    """
    recipe = importlib.import_module(f"{model.name}.recipe")
    reference, corrected = (dataclasses.asdict(recipe.RECIPES[name]) for name in RECIPES)
    described = model.card["switches"]
    if set(described) != set(reference):
        raise ValueError(f"{model.name}/model.json: differs from the switches of recipe.py: "
                         f"{sorted(set(described) ^ set(reference))}")
    lines = [f"| {' | '.join(map(translate, COLUMNS))} |", "|---" * len(COLUMNS) + "|"]
    lines += [f"| `{name}` | {reference[name]} | {corrected[name]} | {translate(texts['meaning'])} | "
              f"{translate(texts.get('effect', NOT_MEASURED))} |" for name, texts in described.items()]
    return "\n".join(lines) + "\n"


def page(translate: Callable[[str], str], suffix: str, columns: int) -> str:
    """Return docs/recipes.md in a language, with paragraphs of at most that many columns.

    Args:
        translate: of English texts.
        suffix: that of the pages of the language.
        columns: width of paragraphs.
    """
    other = "[中文](recipes.zh-CN.md)" if suffix == ".md" else "[English](recipes.md)"
    introduction = textwrap.fill(translate(INTRODUCTION), columns, break_on_hyphens=False)
    lines = [f"# {translate(TITLE)}", "", other, "", introduction]
    for model in zoo.models():
        lines += ["", f"## [{model.card['title']}](../{model.name}/README{suffix})", "", table(model, translate)[:-1]]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the tables, or check them; return 1 if one is stale or a translation is missing."""
    chinese = Chinese("recipes.zh-CN.json")
    pages = {os.path.join(FOLDER, "recipes.md"): page(str, ".md", 120),
             os.path.join(FOLDER, "recipes.zh-CN.md"): page(chinese, ".zh-CN.md", 100_000)}
    for model in zoo.models():
        for suffix, translate in ((".md", str), (".zh-CN.md", chinese)):
            path = os.path.join(zoo.ROOT, model.name, f"README{suffix}")
            pages[path] = replaced(path, "recipes", table(model, translate))
    return finish(pages, chinese.problems(lambda text: text not in RECIPES))


if __name__ == "__main__":
    sys.exit(main())
