"""Write docs/results.md and docs/results.zh-CN.md from every model's model.json: make docs. --check only reports.

results.zh-CN.json has the Chinese translation of every English text.
"""
from __future__ import annotations

import json
import os
import re
import sys
import textwrap
from typing import Any, Callable

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from common import zoo

FOLDER = os.path.dirname(os.path.abspath(__file__))
CATALOGUE = os.path.join(FOLDER, "results.zh-CN.json")
TITLE = "Results"
INTRODUCTION = (
    "Every number here says where it comes from. `published` numbers are those of the paper or of the original's "
    "pages. `measured` numbers come from one run of each command below the table; numbers of tracking and one-shot "
    "episodes, from `zoo evaluate` after it. DATA stands for the folder with the data. "
    "Nothing has been run on an NPU.")
RECIPES = ("reference", "corrected")  # values of --recipe, not translated
COLUMNS = ("recipe", "metric", "value", "evidence", "hardware", "data", "note")


def page(translate: Callable[[str], str], colon: str, columns: int) -> str:
    """Return the Markdown page in a language, with paragraphs of at most that many columns."""
    lines = [f"# {translate(TITLE)}", "", textwrap.fill(translate(INTRODUCTION), columns)]
    for model in zoo.models():
        paper, results = translate(model.card["paper"]), model.card["results"]
        lines += ["", f"## {model.card['title']}", "", f"{translate('Paper')}{colon}{paper}", "",
                  f"| {' | '.join(map(translate, COLUMNS))} |", "|---" * len(COLUMNS) + "|"]
        lines += [f"| {' | '.join(translate(_cell(result, column)) for column in COLUMNS)} |" for result in results]
        commands = [_command(result) for result in results if "command" in result]
        if commands:
            lines += ["", "```bash", *commands, "```"]
    return "\n".join(lines) + "\n"


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
    with open(CATALOGUE, encoding="utf-8") as file:
        catalogue = json.load(file)
    used: set[str] = set()
    problems = []

    def chinese(text: str) -> str:
        used.add(text)
        return catalogue.get(text, text)

    for name, written in (("results.md", page(str, ": ", 120)), ("results.zh-CN.md", page(chinese, "：", 10_000))):
        path = os.path.join(FOLDER, name)
        if "--check" not in sys.argv:
            with open(path, "w", encoding="utf-8") as file:
                file.write(written)
        elif not os.path.exists(path) or open(path, encoding="utf-8").read() != written:  # noqa: SIM115
            problems.append(f"{path}: stale, run 'make docs'")
    problems += [f"{CATALOGUE}: no result says {text!r}" for text in catalogue if text not in used]
    problems += [f"{CATALOGUE}: no translation of {text!r}" for text in sorted(used - set(catalogue))
                 if text not in RECIPES and re.search(r"\b[a-z]{4,}\b", text)]
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
