"""Write the results of every model.json to docs/results.md and the table of README.md: make docs. --check only reports.

Both pages exist in Chinese too; results.zh-CN.json has the translation of every English text.
"""
from __future__ import annotations

import os
import re
import sys
import textwrap
from typing import Any, Callable

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from common import zoo
from docs.generated_pages import FOLDER, Chinese, finish, replaced

TITLE = "Results"
INTRODUCTION = (
    "`published` numbers are those of the paper or of the original's pages. `measured` numbers come from the commands "
    "below the table, which are in the order of its measured rows, with one run for each seed; those of tracking and "
    "of one-shot episodes come from `zoo evaluate` after the training. DATA stands for the folder with the data. "
    "Compare only numbers that have the same metric and data. Nothing has been run on an NPU.")
RECIPES = ("reference", "corrected")  # values of --recipe, not translated
README_COLUMNS = ("what it does", "model", "published", "measured, reference recipe", "measured, corrected recipe")
README_KINDS = (("original", "published"), ("reference", "measured"), ("corrected", "measured"))
COLUMNS = {"recipe": "recipe", "metric": "metric", "value": "value", "evidence": "evidence",
           "hardware": "device, version, date, commit", "data": "data", "note": "note"}  # titles by key of a result


def page(translate: Callable[[str], str], colon: str, columns: int, other: str) -> str:
    """Return the Markdown page in a language, with paragraphs of at most that many columns.

    Args:
        translate: of English texts.
        colon: of the language.
        columns: width of paragraphs.
        other: link to the page in the other language.
    """
    lines = [f"# {translate(TITLE)}", "", other, "", textwrap.fill(translate(INTRODUCTION), columns)]
    for model in zoo.models():
        paper, results = translate(model.card["paper"]), model.card["results"]
        lines += ["", f"## {model.card['title']}", "", f"{translate('Paper')}{colon}{paper}", "",
                  f"| {' | '.join(map(translate, COLUMNS.values()))} |", "|---" * len(COLUMNS) + "|"]
        lines += [f"| {' | '.join(translate(_cell(result, column)) for column in COLUMNS)} |" for result in results]
        commands = [_command(result) for result in results if "command" in result]
        if commands:
            lines += ["", "```bash", *commands, "```"]
    return "\n".join(lines) + "\n"


def table(translate: Callable[[str], str], colon: str, suffix: str) -> str:
    """Return the table of README.md in a language; `suffix` is that of the pages of the models."""
    lines = [f"| {' | '.join(map(translate, README_COLUMNS))} |", "|---" * len(README_COLUMNS) + "|"]
    for model in zoo.models():
        results = model.card["results"]
        cells = [_short([result for result in results if (result["recipe"], result["evidence"]) == kind][:1], translate,
                        colon) for kind in README_KINDS]
        lines.append(f"| {translate(model.card['use'])} | [{model.card['title']}]({model.name}/README{suffix}) | "
                     f"{' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _short(results: list[dict[str, Any]], translate: Callable[[str], str], colon: str) -> str:
    return "".join(f"{translate(result['metric'])}{colon}{translate(result['value'])} ({translate(result['data'])})"
                   for result in results) or "-"


def _cell(result: dict[str, Any], column: str) -> str:
    text = str(result.get(column, ""))
    if column == "hardware" and result["evidence"] == "measured":
        text += f", TensorFlow {result['tensorflow']}, {result['date']}, {result['commit']}"
    return text


def _command(result: dict[str, Any]) -> str:
    """The command, broken before its flags where a line would get too long."""
    lines = [""]
    for word in result["command"].split():
        if len(lines[-1]) + len(word) > 96:
            lines[-1] += " \\"
            lines.append("   ")
        lines[-1] += f" {word}" if lines[-1] else word
    return "\n".join(lines)


def main() -> int:
    """Write the pages, or check them; return 1 if they are stale or a translation is missing."""
    chinese = Chinese("results.zh-CN.json")
    readme, readme_chinese = (os.path.join(zoo.ROOT, name) for name in ("README.md", "README.zh-CN.md"))
    pages = {os.path.join(FOLDER, "results.md"): page(str, ": ", 120, "[中文](results.zh-CN.md)"),
             os.path.join(FOLDER, "results.zh-CN.md"): page(chinese, "：", 10_000, "[English](results.md)"),
             readme: replaced(readme, "results", table(str, ": ", ".md")),
             readme_chinese: replaced(readme_chinese, "results", table(chinese, "：", ".zh-CN.md"))}
    return finish(pages, chinese.problems(
        lambda text: text not in RECIPES and bool(re.search(r"\b[a-z]{4,}\b", text))))


if __name__ == "__main__":
    sys.exit(main())
