"""Write the flag tables of the READMEs from the code: make docs. --check only reports what is stale.

A table is between two markers. flags.zh-CN.json has the Chinese translation of every English text.
"""
from __future__ import annotations

import importlib
import json
import os
import sys

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from common import zoo
from common.cli.parser import REQUIRED, FlagSet

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CATALOGUE = os.path.join(ROOT, "docs", "flags.zh-CN.json")
BEGIN, END = "<!-- flags:begin -->\n", "<!-- flags:end -->"


class Language:
    """Writes flag tables in a language.

    Attributes:
        used: every text in the tables, with its translation; empty if there is none.
    """

    def __init__(self, header: str, brackets: str, comma: str, one_of: str, catalogue: dict[str, str] | None = None):
        self.used: dict[str, str] = {}
        self._header, self._brackets, self._comma, self._one_of = header, brackets, comma, one_of
        self._catalogue = catalogue

    def table(self, flags: FlagSet) -> str:
        """Return the Markdown table of a program's flags."""
        lines = [f"| {self._header} |", "|---|---|---|"]
        for group in flags.groups:
            if group.defaults:
                lines.append(f"| **{self._translate(group.title)}** | | |")
            lines += [self._row(flags, name, default if group is not flags.ignored else "")
                      for name, default in group.defaults.items()]
        return "\n".join(lines) + "\n"

    def _row(self, flags: FlagSet, name: str, default: str) -> str:
        aliases = self._comma.join(f"`{alias}`" for alias in flags.aliases(name))
        shown = f"`{name}`" + (self._brackets.format(aliases) if aliases else "")
        is_text = " " in default or default in ("none", REQUIRED)
        meaning = self._translate(flags.values[name].help)
        choices = getattr(flags.values[name].parser, "enum_values", ())
        if choices:
            meaning += self._one_of.format(self._comma.join(f"`{choice}`" for choice in choices))
        return f"| {shown} | {self._translate(default) if is_text else default} | {meaning} |"

    def _translate(self, text: str) -> str:
        self.used[text] = text if self._catalogue is None else self._catalogue.get(text, "")
        return self.used[text].replace("|", "\\|").replace("<", "\\<")


def train_flags() -> dict[str, FlagSet]:
    """Return the flags of each train entry, by the name of its model."""
    modules = {model.name: os.path.relpath(model.program("train"), ROOT)[:-len(".py")].replace(os.sep, ".")
               for model in zoo.models()}
    return {name: importlib.import_module(module).define_flags() for name, module in modules.items()}


def main() -> int:
    """Write the tables, or check them; return 1 if a table is stale or the catalogue is incomplete or outdated."""
    with open(CATALOGUE, encoding="utf-8") as file:
        catalogue = json.load(file)
    english = Language("flag | default | meaning", " ({})", ", ", " One of {}.")
    chinese = Language("参数 | 默认值 | 含义", "（{}）", "、", "可取 {}。", catalogue)
    problems = []
    for model, flags in train_flags().items():
        for name, language in (("README.md", english), ("README.zh-CN.md", chinese)):
            path = os.path.join(ROOT, model, name)
            with open(path, encoding="utf-8") as file:
                page = file.read()
            start, end = page.index(BEGIN) + len(BEGIN), page.index(END)
            written = page[:start] + language.table(flags) + page[end:]
            if written != page and "--check" in sys.argv:
                problems.append(f"{path}: the flag table is stale, run 'make docs'")
            elif written != page:
                with open(path, "w", encoding="utf-8") as file:
                    file.write(written)
    problems += [f"{CATALOGUE}: no translation of {text!r}" for text, chosen in chinese.used.items() if not chosen]
    problems += [f"{CATALOGUE}: no flag says {text!r}" for text in catalogue if text not in chinese.used]
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
