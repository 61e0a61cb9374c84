"""Write the flag tables of the READMEs from the code: make docs. --check only reports what is stale.

A table is between two markers. flags.zh-CN.json has the Chinese translation of every English text.
"""
from __future__ import annotations

import importlib
import os
import sys
from typing import Callable

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from common import zoo
from common.cli.parser import REQUIRED, FlagSet
from docs.generated_pages import Chinese, finish, replaced


class Language:
    """Writes flag tables in a language."""

    def __init__(self, header: str, brackets: str, comma: str, one_of: str, translate: Callable[[str], str] = str):
        self._header, self._brackets, self._comma, self._one_of = header, brackets, comma, one_of
        self._translated = translate

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
        return self._translated(text).replace("|", "\\|").replace("<", "\\<")


def train_flags() -> dict[str, FlagSet]:
    """Return the flags of each train entry, by the name of its model."""
    modules = {model.name: os.path.relpath(model.program("train"), zoo.ROOT)[:-len(".py")].replace(os.sep, ".")
               for model in zoo.models()}
    return {name: importlib.import_module(module).define_flags() for name, module in modules.items()}


def main() -> int:
    """Write the tables, or check them; return 1 if a table is stale or the catalogue is incomplete or outdated."""
    translate = Chinese("flags.zh-CN.json")
    english = Language("flag | default | meaning", " ({})", ", ", " One of {}.")
    chinese = Language("参数 | 默认值 | 含义", "（{}）", "、", "可取 {}。", translate)
    pages = {}
    for model, flags in train_flags().items():
        for name, language in (("README.md", english), ("README.zh-CN.md", chinese)):
            path = os.path.join(zoo.ROOT, model, name)
            pages[path] = replaced(path, "flags", language.table(flags))
    return finish(pages, translate.problems(bool))


if __name__ == "__main__":
    sys.exit(main())
